"""The `openai` package through the server, to real llama.cpp servers with a real model."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import openai
import pytest

from demo.llama import MODEL, LlamaServer
from tests.e2e.servers import Server, serve
from tests.polling import until


@pytest.fixture
def server(llama_servers: tuple[LlamaServer, LlamaServer]) -> Iterator[Server]:
    """A server with two backends that the test leaves alive."""
    with serve(*llama_servers) as server:
        yield server


def test_models_are_listed_once(server: Server) -> None:
    """A model that two backends have is one model to a client."""
    assert [model.id for model in server.client.models.list()] == [MODEL]


def test_whole_and_streamed_answers_are_the_same_text(server: Server) -> None:
    """A greedy answer reads the same in one piece and streamed, whichever backend gives it."""
    question: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Name three colours."}]
    whole = server.client.chat.completions.create(model=MODEL, messages=question, temperature=0, max_tokens=24, seed=1)
    chunks = server.client.chat.completions.create(
        model=MODEL, messages=question, temperature=0, max_tokens=24, seed=1, stream=True
    )
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed
    assert streamed == whole.choices[0].message.content


def test_legacy_completions(server: Server) -> None:
    """`/v1/completions` is answered by the model too."""
    answer = server.client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=8)
    assert answer.choices[0].text


def test_an_unknown_model_is_not_found(server: Server) -> None:
    """The client's own class for it is raised, and the text names what there is."""
    with pytest.raises(openai.NotFoundError) as caught:
        server.client.chat.completions.create(model="gpt-nope", messages=[{"role": "user", "content": "?"}])
    assert caught.value.code == "model_not_found"
    assert MODEL in caught.value.message


def test_a_client_that_leaves_frees_its_lease(server: Server) -> None:
    """Closing a stream in the middle gives the lease back, without waiting for the model to finish."""
    stream = server.stream()
    next(iter(stream))
    assert server.in_flight() == 1
    stream.close()
    until(lambda: server.in_flight() == 0, "the lease is back")


def test_two_requests_at_once_go_to_two_backends(server: Server) -> None:
    """Each of two idle backends gets one of two simultaneous requests."""
    with server.stream() as one, server.stream() as other:
        next(iter(one))
        next(iter(other))
        assert [backend["pending_requests"] for backend in server.backends().values()] == [1, 1]


def test_a_backend_killed_in_mid_stream(start_llama: Callable[..., LlamaServer]) -> None:
    """Its client gets an error, never a fake end; the lease is back; the other backend answers from then on."""
    first, second = start_llama(), start_llama()
    with serve(first, second) as server:
        stream = server.stream()
        backend = stream.response.headers["x-registry-backend"]
        killed = first if first.url.endswith(backend) else second
        chunks = iter(stream)
        next(chunks)
        os.kill(killed.pid, signal.SIGKILL)
        rest: list[openai.types.chat.ChatCompletionChunk] = []
        with pytest.raises(openai.APIError):
            rest.extend(chunks)
        assert not any(choice.finish_reason for chunk in rest for choice in chunk.choices)
        until(lambda: server.in_flight() == 0, "the lease is back")
        for _ in range(3):
            answer = server.client.chat.completions.with_raw_response.create(
                model=MODEL, messages=[{"role": "user", "content": "Hi"}], max_tokens=4
            )
            assert answer.headers["x-registry-backend"] != backend
        until(lambda: server.backends()[backend]["status"] == "unhealthy", "the dead backend is known to be dead", 20)
