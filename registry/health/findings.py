"""What a probe finds, and how an answer is judged."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import msgspec

from registry.gateway.http1.messages import Fields
from registry.health.http import Answer
from registry.kinds import BackendStatus
from registry.models import Model
from registry.texts import sentence_of

MAX_ERROR_CHARS = 300
MAX_RETRY_AFTER_S = 86_400.0

_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_LOADING = (b"loading", b"starting", b"warming", b"initializ", b"not ready")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe has found.

    Attributes:
        status: `HEALTHY`, `UNHEALTHY`, `WARMING`, `RATE_LIMITED` or `MISCONFIGURED`.
        error: Why it is not healthy, in one sentence.
        latency_ms: How long the first answer took; None without one.
        models: What it has; None if that was not learned.
        retry_after_s: How long it wants to be left alone, in seconds, if it says so.
    """

    status: BackendStatus
    error: str | None = None
    latency_ms: int | None = None
    models: list[Model] | None = None
    retry_after_s: float | None = None


class NotHealthy(Exception):
    """A server is not healthy.

    Args:
        reason: Why, in one sentence.
        status: What it is instead.
        retry_after_s: How long it wants to be left alone, in seconds, if it says so.
    """

    def __init__(
        self, reason: str, status: BackendStatus = BackendStatus.UNHEALTHY, retry_after_s: float | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after_s = retry_after_s


def readable(reason: str) -> str:
    """A reason as it is shown: one printable line of at most `MAX_ERROR_CHARS`."""
    return sentence_of(reason, MAX_ERROR_CHARS)


def expect_success(answer: Answer, *, has_key: bool) -> None:
    """Judge the status of an answer.

    Args:
        answer: The answer.
        has_key: Whether the request carried a key.

    Raises:
        NotHealthy: It is not 200; says what follows from that.
    """
    said = f"{answer.request} answered {answer.status}"
    retry_after_s = read_retry_after(answer.headers)
    if answer.status == HTTPStatus.OK:
        return
    if answer.status in _REFUSED:
        wrong = "it does not accept the key in" if has_key else "it may want a key in"
        raise NotHealthy(f"{said}: {wrong} this backend's api_key or api_key_file", BackendStatus.MISCONFIGURED)
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise NotHealthy(f"{said}: it is asked too often", BackendStatus.RATE_LIMITED, retry_after_s)
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE and (retry_after_s is not None or _is_loading(answer.body)):
        raise NotHealthy(f"{said}: it is not ready yet", BackendStatus.WARMING, retry_after_s)
    if answer.status == HTTPStatus.LOOP_DETECTED:
        raise NotHealthy(f"{said}: it is this server itself", BackendStatus.MISCONFIGURED)
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        raise NotHealthy(f"{said}, which leads elsewhere and is not followed")
    raise NotHealthy(said)


def _is_loading(body: bytes) -> bool:
    said = body[:4096].lower()
    return any(word in said for word in _LOADING)


def read_retry_after(headers: Fields) -> float | None:
    """How long a server wants to be left alone, in seconds, at most a day; None if it does not say so in any sense.

    >>> read_retry_after([(b"retry-after", b"7")])
    7.0
    """
    for name, value in headers:
        if name == b"retry-after":
            return _seconds(value.decode("latin-1").strip())
    return None


def _seconds(text: str) -> float | None:
    if text.isascii() and text.isdigit():
        # A number of any length must not become a number of any size.
        return min(float(text[:9]), MAX_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return min(max(0.0, until - time.time()), MAX_RETRY_AFTER_S)
