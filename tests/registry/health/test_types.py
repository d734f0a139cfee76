"""How each type of server is asked; every server here is a stand-in that answers as the real one is documented to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from registry.health.findings import Finding
from registry.health.probes.ollama import AT_ONCE
from registry.kinds import BackendStatus, BackendType
from registry.models import Model
from tests.loops import on_loop
from tests.registry.health.stand_in import PSEUDONYM, StandIn, answer, found, listing, order, prober, running

KEY = "sk-do-not-show"

LLAMACPP_MODELS = answer({
    "models": [{"name": "smollm2-135m", "model": "smollm2-135m", "capabilities": ["completion"]}],
    "object": "list",
    "data": [
        {
            "id": "smollm2-135m",
            "object": "model",
            "created": 1795284400,
            "owned_by": "llamacpp",
            "meta": {"vocab_type": 2, "n_vocab": 49152, "n_ctx_train": 8192, "n_embd": 576, "size": 96576768},
        }
    ],
})  # fmt: skip
LLAMACPP_PROPS = {
    "default_generation_settings": {"params": {"temperature": 0.8}, "n_ctx": 1024},
    "total_slots": 2,
    "modalities": {"vision": True, "audio": False},
    "chat_template": "{% if tools %}{{ tools }}{% endif %}",
}
LOADING = answer(
    {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, "503 Service Unavailable"
)


def models(finding: Finding) -> list[Model]:
    """The models of a server that is well."""
    assert finding.status is BackendStatus.HEALTHY, finding.error
    assert finding.models is not None
    assert finding.latency_ms is not None
    return finding.models


@on_loop
async def test_llamacpp() -> None:
    """A llama.cpp server is asked how it is, for its models and what they can do, over one connection."""
    server = StandIn({
        "GET /health": answer({"status": "ok"}),
        "GET /v1/models": LLAMACPP_MODELS,
        "GET /props": answer(LLAMACPP_PROPS),
    })  # fmt: skip
    (model,) = models(await found(server, BackendType.LLAMACPP))
    assert model == Model(
        id="smollm2-135m", context_length=1024, supports_vision=True, supports_tools=True, supports_json_mode=True
    )
    assert server.paths == ["GET /health", "GET /v1/models", "GET /props"]
    assert server.connections == 1


@on_loop
async def test_llamacpp_says_what_its_template_can_do() -> None:
    """The abilities that a newer llama.cpp finds in a chat template count more than the words in it."""
    props = {**LLAMACPP_PROPS, "chat_template_caps": {"supports_tools": False, "supports_tool_calls": False}}
    server = StandIn({"GET /v1/models": LLAMACPP_MODELS, "GET /props": answer(props)})
    assert not models(await found(server, BackendType.LLAMACPP))[0].supports_tools


@on_loop
async def test_llamacpp_without_its_properties() -> None:
    """What a llama.cpp server does not tell is no harm: its list says what the model was trained for."""
    server = StandIn({"GET /health": answer({"status": "ok"}), "GET /v1/models": LLAMACPP_MODELS})
    (model,) = models(await found(server, BackendType.LLAMACPP))
    assert (model.context_length, model.supports_vision, model.supports_tools) == (8192, False, False)


@on_loop
async def test_llamacpp_that_loads_its_model_is_warming() -> None:
    """A llama.cpp server that loads is warming, not sick."""
    finding = await found(StandIn({"*": LOADING}), BackendType.LLAMACPP)
    assert finding.status is BackendStatus.WARMING
    assert finding.error == "GET /health answered 503: it is not ready yet"


TAGS = {
    "models": [
        {"name": "llava:7b", "model": "llava:7b", "digest": "8dd3", "size": 4733363377, "details": {"family": "llama"}},
        {"name": "qwen3:4b", "model": "qwen3:4b", "digest": "2bfd", "size": 2620788019, "details": {"family": "qwen3"}},
    ]
}
SHOW = {
    "license": "...",
    "parameters": "stop <|im_end|>",
    "details": {"family": "qwen3"},
    "model_info": {"general.architecture": "qwen3", "qwen3.block_count": 36, "qwen3.context_length": 40960},
    "capabilities": ["completion", "tools", "thinking"],
}


@on_loop
async def test_ollama() -> None:
    """An Ollama server is asked for its models, and about each that was not seen before, once."""
    server = StandIn({"GET /api/tags": answer(TAGS), "POST /api/show": answer(SHOW)})
    async with running(server):
        one = prober()
        first = models(await one.probe(order(server.url, BackendType.OLLAMA)))
        assert [(m.id, m.context_length, m.supports_vision, m.supports_tools, m.supports_json_mode) for m in first] == [
            ("llava:7b", 40960, False, True, True),
            ("qwen3:4b", 40960, False, True, True),
        ]
        assert sorted(json.loads(body)["model"] for body in server.bodies if body) == ["llava:7b", "qwen3:4b"]
        server.requests.clear()
        assert models(await one.probe(order(server.url, BackendType.OLLAMA))) == first
        assert server.paths == ["GET /api/tags"]


@on_loop
async def test_ollama_model_that_has_changed_is_asked_about_again() -> None:
    """A name that stands for another model now is asked about anew; the others are not."""
    server = StandIn({"GET /api/tags": answer(TAGS), "POST /api/show": answer(SHOW)})
    async with running(server):
        one = prober()
        await one.probe(order(server.url, BackendType.OLLAMA))
        pulled = [TAGS["models"][0], {**TAGS["models"][1], "digest": "ffff"}]
        server.pages = {
            "GET /api/tags": answer({"models": pulled}),
            "POST /api/show": answer({**SHOW, "capabilities": ["completion", "vision"]}),
        }
        again = models(await one.probe(order(server.url, BackendType.OLLAMA)))
        assert [(m.supports_vision, m.supports_tools) for m in again] == [(False, True), (True, False)]


@pytest.mark.parametrize(
    "show", [answer({"error": "broken"}, "500 Internal Server Error"), answer(b"\xff"), answer(b"[]"), None]
)
@on_loop
async def test_ollama_that_tells_nothing_of_its_models(show: bytes | None) -> None:
    """Where it does not tell, or not in time, the names do; it is asked again the next time."""
    server = StandIn({"GET /api/tags": answer(TAGS), "POST /api/show": show})
    async with running(server):
        one = prober(timeout_s=0.3 if show is None else 5.0)
        first = models(await one.probe(order(server.url, BackendType.OLLAMA)))
        assert [(m.id, m.context_length, m.supports_vision, m.supports_tools) for m in first] == [
            ("llava:7b", 4096, True, False),
            ("qwen3:4b", 4096, False, True),
        ]
        server.pages["POST /api/show"] = answer(SHOW)
        assert models(await one.probe(order(server.url, BackendType.OLLAMA)))[0].context_length == 40960


@on_loop
async def test_ollama_is_asked_about_its_models_no_longer_than_a_probe_takes() -> None:
    """When the time is over nobody goes on asking, however many there are; a place is given once more at most."""
    server = StandIn(
        {"GET /api/tags": answer({"models": [{"name": f"m{n}"} for n in range(1000)]}), "POST /api/show": None}
    )
    async with running(server):
        await prober(timeout_s=0.3).probe(order(server.url, BackendType.OLLAMA))
        # The time of a question may be over a moment before that of the whole probe.
        assert server.connections <= 2 * AT_ONCE + 1


VLLM = {"id": "Qwen/Qwen2.5-VL-7B-Instruct", "object": "model", "owned_by": "vllm", "max_model_len": 32768}


@on_loop
async def test_vllm() -> None:
    """A vLLM server tells how long a context it was started with; the rest its model's name tells."""
    server = StandIn({"GET /health": answer(b""), "GET /v1/models": answer({"object": "list", "data": [VLLM]})})
    (model,) = models(await found(server, BackendType.VLLM))
    assert (model.context_length, model.supports_vision, model.supports_tools) == (32768, True, True)
    assert model.supports_json_mode


@on_loop
async def test_vllm_whose_engine_is_dead() -> None:
    """A vLLM server that still lists its models, but whose engine has died, is not well."""
    server = StandIn(
        {"GET /health": answer(b"", "503 Service Unavailable"), "GET /v1/models": answer({"data": [VLLM]})}
    )
    finding = await found(server, BackendType.VLLM)
    assert (finding.status, finding.error) == (BackendStatus.UNHEALTHY, "GET /health answered 503")


SGLANG = {"id": "meta/llama", "object": "model", "owned_by": "sglang", "root": "meta/llama", "max_model_len": 131072}


@pytest.mark.parametrize("path", ["/model_info", "/get_model_info"])
@on_loop
async def test_sglang(path: str) -> None:
    """An SGLang server tells the context length and whether its model takes images, in old versions and new ones."""
    server = StandIn({
        "GET /health": answer(b""),
        "GET /v1/models": answer({"object": "list", "data": [SGLANG]}),
        f"GET {path}": answer({"model_path": "meta/llama", "is_generation": True, "has_image_understanding": True}),
    })  # fmt: skip
    (model,) = models(await found(server, BackendType.SGLANG))
    assert (model.context_length, model.supports_vision, model.supports_json_mode) == (131072, True, True)


@on_loop
async def test_sglang_that_warms_up() -> None:
    """An SGLang server that lists its models but does not answer for them yet is warming."""
    server = StandIn(
        {"GET /health": answer(b"", "503 Service Unavailable"), "GET /v1/models": answer({"data": [SGLANG]})}
    )
    assert (await found(server, BackendType.SGLANG)).status is BackendStatus.WARMING


LMSTUDIO_V0 = [
    {"id": "qwen2-vl-7b", "type": "vlm", "arch": "qwen2_vl", "state": "not-loaded", "max_context_length": 32768},
    {
        "id": "some-model",
        "type": "llm",
        "state": "loaded",
        "max_context_length": 131072,
        "loaded_context_length": 8192,
        "capabilities": ["tool_use"],
    },
    {"id": "text-embedding-nomic-embed-text-v1.5", "type": "embeddings", "max_context_length": 2048},
]
LMSTUDIO_V1 = [
    {
        "type": "llm",
        "key": "google/gemma-3-4b",
        "display_name": "Gemma 3 4B",
        "loaded_instances": [],
        "max_context_length": 131072,
        "capabilities": {"vision": True, "trained_for_tool_use": False},
    },
    {
        "type": "llm",
        "key": "qwen/some",
        "display_name": "Some",
        "loaded_instances": [{"id": "qwen/some", "config": {"context_length": 4096}}],
        "max_context_length": 262144,
        "capabilities": {"vision": False, "trained_for_tool_use": True},
    },
]
UNEXPECTED = answer({"error": "Unexpected endpoint or method. (GET /api/v0/models)"})


@on_loop
async def test_lmstudio() -> None:
    """An LM Studio server tells what its models can do; of a loaded one the context that it was loaded with counts."""
    found_models = models(
        await found(StandIn({"GET /api/v0/models": answer({"data": LMSTUDIO_V0})}), BackendType.LMSTUDIO)
    )
    assert [(m.id, m.context_length, m.supports_vision, m.supports_tools) for m in found_models] == [
        ("qwen2-vl-7b", 32768, True, False),
        ("some-model", 8192, False, True),
        ("text-embedding-nomic-embed-text-v1.5", 2048, False, False),
    ]


@on_loop
async def test_newer_lmstudio() -> None:
    """A version of LM Studio that has only its newer list is understood as well."""
    server = StandIn({"GET /api/v0/models": UNEXPECTED, "GET /api/v1/models": answer({"models": LMSTUDIO_V1})})
    found_models = models(await found(server, BackendType.LMSTUDIO))
    assert [(m.id, m.name, m.context_length, m.supports_vision, m.supports_tools) for m in found_models] == [
        ("google/gemma-3-4b", "Gemma 3 4B", 131072, True, False),
        ("qwen/some", "Some", 4096, False, True),
    ]


@pytest.mark.parametrize("other", [UNEXPECTED, answer(b"", "404 Not Found")])
@on_loop
async def test_older_lmstudio(other: bytes) -> None:
    """A version of LM Studio that has only OpenAI's list is understood as well."""
    server = StandIn({"GET /v1/models": listing("hermes-3"), "*": other})
    (model,) = models(await found(server, BackendType.LMSTUDIO))
    assert (model.id, model.supports_tools) == ("hermes-3", True)


@on_loop
async def test_exo() -> None:
    """An exo server tells names and context lengths in its list."""
    entry = {
        "id": "mlx-community/Llama-3.2-1B-Instruct-4bit",
        "owned_by": "exo",
        "name": "Llama 3.2 1B",
        "context_length": 131072,
        "tags": [],
        "capabilities": ["text"],
    }
    (model,) = models(await found(StandIn({"GET /v1/models": answer({"data": [entry]})}), BackendType.EXO))
    assert (model.name, model.context_length, model.supports_tools) == ("Llama 3.2 1B", 131072, True)


CLAUDE = {"id": "gpt-4o", "max_input_tokens": 128000, "capabilities": {"image_input": {"supported": True}}}
GEMINI = [
    {"name": "models/embed", "supportedGenerationMethods": ["embedContent"]},
    {"name": "models/gpt-4o", "inputTokenLimit": 128000, "supportedGenerationMethods": ["generateContent"]},
]


@pytest.mark.parametrize(
    ("type", "path", "body", "field"),
    [
        (BackendType.OPENAI, "/v1/models", {"data": [{"id": "gpt-4o"}]}, f"Authorization: Bearer {KEY}"),
        (BackendType.GENERIC, "/v1/models", {"data": [{"id": "gpt-4o"}]}, f"Authorization: Bearer {KEY}"),
        (BackendType.ANTHROPIC, "/v1/models?limit=1000", {"data": [CLAUDE]}, f"X-Api-Key: {KEY}"),
        (BackendType.GOOGLE, "/v1beta/models?pageSize=1000", {"models": GEMINI}, f"X-Goog-Api-Key: {KEY}"),
    ],
)
@on_loop
async def test_paid_services_are_asked_what_costs_nothing(type: BackendType, path: str, body: Any, field: str) -> None:
    """A paid service gets its key in the field that it wants, and nothing but its list of models is asked for."""
    server = StandIn({f"GET {path}": answer(body)})
    (model,) = models(await found(server, type, key=KEY))
    assert (model.id, model.context_length, model.supports_vision) == ("gpt-4o", 128000, True)
    assert server.paths == [f"GET {path}"]
    assert field.lower() in server.requests[0].lower()


@on_loop
async def test_server_without_a_key_gets_none() -> None:
    """A key is sent to the server that it is for, and to no other."""
    server = StandIn({"GET /v1/models": listing("m")})
    async with running(server):
        await prober({"http://127.0.0.1:1": KEY}).probe(order(server.url))
    assert KEY not in server.requests[0]


@on_loop
async def test_probe_can_be_known_by_the_server_that_sends_it() -> None:
    """It carries this server's sign, so that a backend that is this server is found to be none."""
    server = StandIn({"GET /v1/models": listing("m")})
    async with running(server):
        await prober().probe(order(server.url))
    assert f"via: 1.1 {PSEUDONYM}\r\n" in server.requests[0]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"id": "m"}, Model(id="m")),
        ({"id": "m", "max_model_len": 7, "meta": {"n_ctx_train": 8192}}, Model(id="m", context_length=7)),
        ({"id": "m", "meta": {"n_ctx": 2048, "n_ctx_train": 8192}}, Model(id="m", context_length=2048)),
        ({"id": "m", "context_length": 200_000.0}, Model(id="m", context_length=200_000)),
        ({"id": "m", "context_length": 0, "context_window": 9}, Model(id="m", context_length=9)),
        ({"id": "m", "max_model_len": -5}, Model(id="m")),
        ({"id": "m", "max_model_len": 2**40}, Model(id="m")),
        ({"id": "m", "max_model_len": True, "meta": None}, Model(id="m")),
        ({"id": "m", "meta": {"n_ctx_train": "long"}, "surplus": [1]}, Model(id="m")),
        (
            {
                "id": "m",
                "architecture": {"input_modalities": ["text", "image"]},
                "supported_parameters": ["tools", "response_format"],
                "top_provider": {"max_completion_tokens": 16384},
            },
            Model(id="m", supports_vision=True, supports_tools=True, supports_json_mode=True, max_output_tokens=16384),
        ),
        (
            {"id": "mistral", "capabilities": {"function_calling": False, "vision": True}},
            Model(id="mistral", supports_vision=True),
        ),
        ({"id": "mistral", "capabilities": ["completion"]}, Model(id="mistral", supports_tools=True)),
        ({"id": "mistral", "supported_parameters": []}, Model(id="mistral")),
        ({"id": "phi-3-mini-128k"}, Model(id="phi-3-mini-128k", context_length=131072)),
    ],
)
@on_loop
async def test_what_lists_tell(entry: dict[str, Any], expected: Model) -> None:
    """What a list tells of a model is used where it makes sense; the rest its name tells, or the defaults."""
    assert models(await found(StandIn({"GET /v1/models": answer({"data": [entry]})}))) == [expected]


@pytest.mark.parametrize(
    ("entry", "pages", "expected"),
    [
        (
            {"id": "m", "owned_by": "llamacpp"},
            {"GET /props": answer(LLAMACPP_PROPS)},
            Model(id="m", context_length=1024, supports_vision=True, supports_tools=True, supports_json_mode=True),
        ),
        (
            {"id": "m", "owned_by": "sglang"},
            {"GET /model_info": answer({"has_image_understanding": True})},
            Model(id="m", supports_vision=True, supports_json_mode=True),
        ),
        ({"id": "m", "owned_by": "vllm"}, {}, Model(id="m", supports_json_mode=True)),
        ({"id": "m", "owned_by": ["vllm"]}, {}, Model(id="m")),
    ],
)
@on_loop
async def test_software_is_known_by_its_answer(entry: dict[str, Any], pages: dict[str, bytes], expected: Model) -> None:
    """A server of no known type that says what it runs is asked what that software tells."""
    server = StandIn({"GET /v1/models": answer({"data": [entry]}), **pages})
    assert models(await found(server)) == [expected]


@pytest.mark.parametrize("type", list(BackendType))
@on_loop
async def test_server_without_models_is_well(type: BackendType) -> None:
    """A server of any type that has no models is well, and known to have none."""
    assert models(await found(StandIn({"*": answer({"data": [], "models": []})}), type)) == []


@on_loop
async def test_base_address_may_end_in_v1() -> None:
    """The base address of a backend may be that of its API."""
    server = StandIn({"GET /llm/v1/models": listing("m")})
    async with running(server):
        for path in ("/llm", "/llm/v1"):
            assert models(await prober().probe(order(server.url + path))) == [Model(id="m")]
