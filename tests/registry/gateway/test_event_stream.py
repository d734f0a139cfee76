"""A stream of events, cut anywhere."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from registry.gateway.event_stream import DONE, MAX_HELD_BYTES, EventStream

LINES = st.sampled_from([b"data: 1", b": ping", b"", b"data: {\xc3\xa4}", b"event: x", b"id: 7\r"])
STREAMS = st.lists(LINES).map(b"\n".join)


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    """Cut a stream at these places."""
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


@given(STREAMS, st.lists(st.integers(0, 1000)))
def test_whole_streams_pass_unchanged(stream: bytes, cuts: list[int]) -> None:
    """However a stream is cut, what is passed on is the same bytes in the same order."""
    events = EventStream()
    passed = b"".join(events.feed(piece) for piece in pieces_of(stream, cuts))
    assert passed + events.finish() == stream


@given(STREAMS, st.lists(st.integers(0, 1000)))
def test_broken_streams_end_with_an_event_of_its_own(stream: bytes, cuts: list[int]) -> None:
    """Wherever a stream breaks, its whole lines stay and the error stands between empty lines."""
    events = EventStream()
    passed = b"".join(events.feed(piece) for piece in pieces_of(stream, cuts))
    assert passed == stream[: stream.rfind(b"\n") + 1]
    ending = events.break_off(b"{}")
    assert ending.endswith(b"data: {}\n\n" + DONE)
    before = (passed + ending).removesuffix(b"data: {}\n\n" + DONE)
    assert before.endswith((b"\n\n", b"\r\n\r\n")) or not before.strip()


def test_endless_lines_are_not_held_for_ever() -> None:
    """A line longer than the limit is passed on in pieces."""
    events = EventStream()
    line = b"x" * (MAX_HELD_BYTES + 1)
    assert events.feed(line) == line
    assert events.break_off(b"{}").startswith(b"\n\ndata: {}")
