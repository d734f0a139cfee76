"""What a model can do, as far as its name tells: for servers that do not say it themselves."""

from __future__ import annotations

import re

from pydantic import ValidationError

from registry.models import Model

MAX_TOKENS = 2**31 - 1
MAX_ID_CHARS = 1024

_VISION = re.compile(
    r"llava|vision|pixtral|moondream|minicpm-?v|internvl|smolvlm|llama-?4|gemma-?[3-9].{0,64}[-:](4|12|27)b"
    r"|(?<![a-z])vl(?![a-z])|gpt-4o|gpt-4\.1|gpt-4-turbo|gpt-5|claude|gemini"
)
_TOOLS = re.compile(
    r"hermes|functionary|firefunction|command|tool|mistral|ministral|mixtral|llama-?3\.[123]|llama-?4|qwen-?2\.5|qwen-?3"
    r"|gpt-oss|gpt-4|gpt-5|gpt-3\.5-turbo|claude|gemini"
)
_JSON_MODE = re.compile(r"hermes|functionary|command|tool|gpt-oss|gpt-4|gpt-5|gpt-3\.5-turbo|gemini")
_CONTEXT_LENGTHS = (
    (re.compile(r"gpt-4o|gpt-4-turbo"), 128_000),
    (re.compile(r"gpt-4-32k"), 32_768),
    (re.compile(r"gpt-4\.1|gemini"), 1_000_000),
    (re.compile(r"gpt-4"), 8_192),
    (re.compile(r"gpt-3\.5-turbo"), 16_384),
    (re.compile(r"claude"), 200_000),
)
_THOUSANDS = re.compile(r"(?<![a-z0-9.])(256|200|128|64|32|16|8|4)k(?![a-z0-9])")
_DEFAULT_CONTEXT_LENGTH = 4_096


def make_model(
    id: object,
    *,
    name: object = None,
    context_length: object = None,
    max_output_tokens: object = None,
    vision: bool | None = None,
    tools: bool | None = None,
    json_mode: bool | None = None,
) -> Model | None:
    """A model of what a server tells, with guesses for what it does not tell and for numbers that cannot be.

    Returns:
        The model; None if its id cannot be one.

    >>> make_model("qwen2.5-vl-7b-32k")
    Model(id='qwen2.5-vl-7b-32k', name='qwen2.5-vl-7b-32k', context_length=32768, supports_vision=True, \
supports_tools=True, supports_json_mode=False, max_output_tokens=None)
    """
    if not isinstance(id, str) or len(id) > MAX_ID_CHARS:
        return None  # before its name is searched, which takes time with its length
    lower = id.lower()
    try:
        return Model(
            id=id,
            name=name[:1024] if isinstance(name, str) else "",
            context_length=tokens(context_length) or guess_context_length(lower),
            max_output_tokens=tokens(max_output_tokens),
            supports_vision=_VISION.search(lower) is not None if vision is None else vision,
            supports_tools=_TOOLS.search(lower) is not None if tools is None else tools,
            supports_json_mode=_JSON_MODE.search(lower) is not None if json_mode is None else json_mode,
        )
    except ValidationError:
        return None  # an empty id


def tokens(value: object) -> int | None:
    """A number of tokens, if it can be one.

    >>> tokens(8192), tokens(8192.0), tokens(True), tokens(-1), tokens(10**30), tokens("8192")
    (8192, 8192, None, None, None, None)
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= MAX_TOKENS else None


def guess_context_length(lower: str) -> int:
    """The longest context of a model in tokens, by its name in lower case."""
    for pattern, length in _CONTEXT_LENGTHS:
        if pattern.search(lower):
            return length
    found = _THOUSANDS.search(lower)
    return int(found[1]) * 1024 if found else _DEFAULT_CONTEXT_LENGTH
