"""The two things the gateway reads from a completion request; all else is between client and backend."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from registry.gateway.openai import OpenAIError


class CompletionCall(msgspec.Struct, frozen=True):
    """What decides where a request goes and how its answer comes.

    Attributes:
        model: The model asked for.
        stream: Whether the answer is wanted as a stream of events.
    """

    model: str
    stream: bool


class _Body(msgspec.Struct):
    # Any: a wrong type is then found here, where its field's name is known, and not by the decoder.
    model: Any = None
    stream: Any = None


_decoder = msgspec.json.Decoder(_Body)


def decode_call(body: bytes) -> CompletionCall:
    """Read a completion request.

    Args:
        body: The request's content.

    Raises:
        OpenAIError: 400, naming the field that is wrong.

    Example:
        >>> decode_call(b'{"model": "smollm2", "messages": []}')
        CompletionCall(model='smollm2', stream=False)
    """
    try:
        fields = _decoder.decode(body)
    except msgspec.ValidationError:
        raise _invalid("The request body must be a JSON object.") from None
    except RecursionError:
        raise _invalid("The request body is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _invalid(f"The request body is not valid JSON: {error}.") from None
    if fields.model is None:
        raise _invalid("You must provide a model parameter.", "model")
    if not isinstance(fields.model, str):
        raise _invalid("'model' must be a string.", "model")
    if not fields.model:
        raise _invalid("'model' must not be empty.", "model")
    if fields.stream is not None and not isinstance(fields.stream, bool):
        raise _invalid("'stream' must be true, false or null.", "stream")
    return CompletionCall(fields.model, bool(fields.stream))


def _invalid(message: str, param: str | None = None) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param)
