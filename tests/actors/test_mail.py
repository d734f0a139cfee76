"""How answers leave the owner: together, in order, and without waiting for anybody."""

import select
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from actors import frames
from actors.channel import Channel
from actors.frames import Answer
from actors.turns import members
from actors.turns.answers import encode_answer
from actors.turns.mail import PACKET_BYTES, Mail
from actors.turns.members import Member


class Post:
    """A mail with one session, and that session's end."""

    def __init__(self) -> None:
        owner_end, self.end = Channel.pair()
        self.epoll = select.epoll()
        self.mail = Mail(self.epoll)
        self.member = Member(1, owner_end)
        self.epoll.register(self.member.fd, self.member.events)

    def arrived(self) -> list[list[int]]:
        """The numbers of the answers in each message that has arrived."""
        found = []
        while (message := self.end.receive()) is not None:
            said = frames.decode_to_worker(message)
            found.append([frame.number for frame in said if isinstance(frame, Answer)])
        return found

    def close(self) -> None:
        self.end.close()
        self.member.channel.close()
        self.epoll.close()


@pytest.fixture
def post() -> Iterator[Post]:
    """A session that reads when it is told to."""
    post = Post()
    yield post
    post.close()


def answers(*numbers: int, result: Any = None) -> list[bytes]:
    """Encoded answers."""
    return [encode_answer(number, result, 0) for number in numbers]


def test_what_was_held_back_goes_first_and_together(post: Post) -> None:
    """One message, in order; then nothing is held any more."""
    post.mail.hold(post.member, answers(1, 2))
    post.mail.hold(post.member, answers(3))
    assert (post.arrived(), list(post.mail.held)) == ([], [post.member])
    post.mail.answer(post.member, answers(4))
    assert (post.arrived(), list(post.mail.held)) == ([[1, 2, 3, 4]], [])


def test_no_more_is_held_back_than_fills_a_packet(post: Post) -> None:
    """Then it leaves, however much is still to come."""
    thirds = answers(1, 2, 3, 4, result=b"x" * (PACKET_BYTES // 3))
    post.mail.hold(post.member, thirds[:2])
    assert post.arrived() == []
    post.mail.hold(post.member, thirds[2:3])
    assert post.arrived() == [[1, 2], [3]]
    post.mail.hold(post.member, thirds[3:])
    assert (post.arrived(), list(post.mail.held)) == ([], [post.member])


def test_what_was_held_back_for_a_session_is_forgotten_with_it(post: Post) -> None:
    """Nobody is there to read it."""
    post.mail.hold(post.member, answers(1))
    post.mail.forget(post.member)
    assert list(post.mail.held) == []


def test_answers_share_messages_of_about_a_packet(post: Post) -> None:
    """A long one goes alone, and no message is empty."""
    long = answers(1, result=b"x" * (PACKET_BYTES + 1))
    thirds = answers(2, 3, 4, 5, 6, result=b"x" * (PACKET_BYTES // 3))
    post.mail.answer(post.member, [*long, *thirds])
    assert post.arrived() == [[1], [2, 3], [4, 5], [6]]


def test_who_reads_too_little_is_waited_for_and_at_last_not_read(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as it has caught up, it is listened to as before."""
    monkeypatch.setattr(members, "UNSENT_BYTES", 1_000_000)
    seen = [post.member.events]
    sent = 0
    while not post.member.is_full:
        sent += 1
        post.mail.answer(post.member, answers(sent, result=b"x" * 10_000))
        if post.member.events != seen[-1]:
            seen.append(post.member.events)
    assert seen == [select.EPOLLIN, select.EPOLLIN | select.EPOLLOUT, select.EPOLLOUT]
    assert not post.epoll.poll(0)
    got = []
    while post.member.events != select.EPOLLIN:
        got += post.arrived()
        assert post.epoll.poll(0)
        post.mail.flush(post.member)
    got += post.arrived()
    assert got == [[number] for number in range(1, sent + 1)]


def test_what_comes_for_a_session_that_has_ended_harms_nobody(post: Post) -> None:
    """Its end is learnt from epoll."""
    post.end.close()
    post.mail.answer(post.member, answers(1))
    post.mail.flush(post.member)


def test_the_backlog_of_a_session_has_a_length(post: Post) -> None:
    """The message that waits, and the commands that do."""
    member = post.member
    member.unread = b"x" * 100
    member.backlog += [frames.Cancel(1), frames.Ask(2, 0.0, 0, msgspec.Raw(b"x" * 50))]
    assert member.backlog_bytes == 100 + 2 * members.FRAME_BYTES
