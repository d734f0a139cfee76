"""How much a peer may send, and how long it may take."""

from __future__ import annotations

import msgspec


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on what one client may take from the gateway.

    Attributes:
        max_head_bytes: Request line and header fields together; more is answered with 431.
        max_body_bytes: The content of a request; more is answered with 413.
        request_timeout_s: For a request to arrive, from its first byte; then 408. A body earns more time as
            it comes in, see `min_body_bytes_per_s`.
        min_body_bytes_per_s: Every so many bytes of a body are worth one more second. A large body over a
            slow line is fine, a client that sends a byte now and then is not.
        idle_timeout_s: For the next request to begin on an open connection; then it is closed.
        stalled_timeout_s: For a client that reads nothing of its answer; then it is cut off.
        linger_s: How long the rest of a refused request is read and thrown away. Closing at once would make
            the kernel send a reset, which can destroy the answer before the client has read it.
        max_pipelined: Requests that may wait on one connection behind the one being answered before reading
            pauses.
    """

    max_head_bytes: int = 64 * 1024
    max_body_bytes: int = 10 * 1024 * 1024
    request_timeout_s: float = 20.0
    min_body_bytes_per_s: int = 4096
    idle_timeout_s: float = 75.0
    stalled_timeout_s: float = 120.0
    linger_s: float = 2.0
    max_pipelined: int = 32


class UpstreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on how long an upstream server may take.

    Attributes:
        connect_timeout_s: For the TCP (and TLS) connection.
        first_byte_timeout_s: From the request to the head of the answer. A model may think for minutes.
        stalled_timeout_s: Between two reads of an answer that has begun.
        idle_timeout_s: How long an unused connection is kept.
        max_idle: Unused connections kept for each origin.
        max_head_bytes: Status line and header fields of an answer.
    """

    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 300.0
    stalled_timeout_s: float = 300.0
    idle_timeout_s: float = 60.0
    max_idle: int = 256
    max_head_bytes: int = 256 * 1024
