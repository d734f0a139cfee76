import math
from typing import Any

import msgspec
import pytest

from actors import frames
from actors.channel import Channel
from actors.clock import ManualClock
from actors.errors import CallTimeout, CommandError, CommandFailed, OutcomeUnknown, Overloaded, SystemStopped
from actors.frames import Acked, Answer, Ask, Bye, Cancel, Failure, Hello, Refused, Welcome
from actors.session import ACKNOWLEDGE_AFTER, ACKNOWLEDGE_BYTES, MESSAGE_BYTES, Session

RAW = msgspec.msgpack.encode


@pytest.fixture
def session() -> Session:
    """A session that has heard nothing yet."""
    return Session(ManualClock())


def welcome(session: Session, epoch: int = 1) -> None:
    """A life of the owner begins, with a window of 3."""
    session.receive(frames.encode([Welcome(epoch, 5, 3)]))


def answer(session: Session, number: int, result: Any = None, failure: Failure | None = None) -> int:
    """Let the owner answer; how many waiting calls that completed."""
    return len(session.receive(frames.encode([Answer(number, msgspec.Raw(RAW(result)), failure, 9)])))


def sent(session: Session) -> list[frames.ToOwner]:
    """All that the session wants to send now."""
    found: list[frames.ToOwner] = []
    while (message := session.outgoing()) is not None:
        found += frames.decode_to_owner(message)
    return found


def numbers(said: list[frames.ToOwner]) -> list[int]:
    """The numbers of the commands among some frames."""
    return [frame.number for frame in said if isinstance(frame, Ask)]


def test_nothing_is_sent_before_the_owner_has_said_welcome(session: Session) -> None:
    """Then Hello comes first, and the commands in order."""
    for _ in range(3):
        session.call(RAW(1), math.inf)
    assert sent(session) == []
    welcome(session)
    said = sent(session)
    assert said[0] == Hello(1, [])
    assert numbers(said) == [1, 2, 3]


def test_a_new_owner_gets_everything_unanswered_in_order_and_once(session: Session) -> None:
    """What was answered is acknowledged in ranges, what waits to be sent is not sent twice."""
    welcome(session)
    for _ in range(5):
        session.call(RAW(1), math.inf)
    sent(session)
    for number in (1, 3, 4):
        answer(session, number)
    session.call(RAW(1), math.inf)
    welcome(session, 2)
    said = sent(session)
    assert said[0] == Hello(2, [(1, 1), (3, 4)])
    assert numbers(said) == [2, 5, 6]
    answer(session, 2)
    assert session._answered.ranges() == [(1, 4)]


def test_messages_stay_below_the_limit_however_long_the_commands(session: Session) -> None:
    """A long command never shares a message with others that would take it over the queue's limit."""
    welcome(session)
    sent(session)
    for size in (MESSAGE_BYTES - 1_000, 3 * MESSAGE_BYTES, 10, 10):
        session.call(RAW(b"x" * size), math.inf)
    messages = []
    while (message := session.outgoing()) is not None:
        messages.append(numbers(frames.decode_to_owner(message)))
    assert messages == [[1], [2], [3, 4]]


def test_a_result_or_an_error_completes_the_call(session: Session) -> None:
    """The same error class is raised that the owner named; an unknown one becomes `CommandError` with its code."""
    welcome(session)
    calls = [session.call(RAW(1), math.inf) for _ in range(6)]
    answer(session, 1, [1, 2])
    assert msgspec.msgpack.decode(calls[0].value()) == [1, 2]
    failures = {
        2: (Failure("CommandFailed", "m", {"reason": "r"}), CommandFailed),
        3: (Failure("CallTimeout", "m", {}), CallTimeout),
        4: (Failure("Overloaded", "m", {}), Overloaded),
        5: (Failure("Unheard", "m", {"code": "x", "a": 1}), CommandError),
        6: (Failure("CommandFailed", "m", {"other": 1}), CommandError),
    }
    for number, (failure, cls) in failures.items():
        answer(session, number, None, failure)
        error = calls[number - 1].error
        assert type(error) is cls
    assert isinstance(error, CommandError)
    assert error.details == {"other": 1, "code": "CommandFailed"}


def test_an_error_that_could_not_travel_says_which_it_was(session: Session) -> None:
    """The owner sent its text only; one that is of no class of its own has the code of the base."""
    welcome(session)
    shortened, plain = session.call(RAW(1), math.inf), session.call(RAW(1), math.inf)
    answer(session, 1, None, Failure("CommandError", "no: xxx", {"code": "Refused"}))
    answer(session, 2, None, Failure("CommandError", "m", {"other": 1}))
    errors = [shortened.error, plain.error]
    assert [error.details for error in errors if isinstance(error, CommandError)] == [
        {"code": "Refused"},
        {"code": "CommandError", "other": 1},
    ]


def test_an_expired_change_has_an_unknown_outcome(session: Session) -> None:
    """Without a change, or before anything was sent, nothing can have happened."""
    early = session.call(RAW(1), 0.0)
    session.expire(early)
    assert type(early.error) is CallTimeout
    welcome(session)
    change, read = session.call(RAW(1), 0.0), session.call(RAW(1), 0.0, changes=False)
    session.expire(change)
    session.expire(read)
    assert type(change.error) is OutcomeUnknown
    assert type(read.error) is CallTimeout


@pytest.mark.parametrize("moment", ["before the answer", "after the answer"])
def test_what_is_granted_to_nobody_is_given_back(session: Session, moment: str) -> None:
    """A caller that was interrupted leaks no grant, whether its answer was still to come or there already."""
    welcome(session)
    sent(session)
    call = session.call(RAW("take"), 0.0, on_orphan=lambda raw: RAW(["back", msgspec.msgpack.decode(raw)]))
    sent(session)
    if moment == "before the answer":
        session.abandon(call)
    assert answer(session, 1, "lease") == (moment == "after the answer")
    if moment == "after the answer":
        session.abandon(call)
    said = sent(session)
    assert (Cancel(1) in said) == (moment == "before the answer")
    [back] = [frame for frame in said if isinstance(frame, Ask)]
    assert msgspec.msgpack.decode(back.command) == ["back", "lease"]
    assert back.deadline == math.inf


def test_what_a_batch_grants_to_nobody_is_given_back(session: Session) -> None:
    """Each of its commands has its own way to give back, or none; those that were refused have nothing."""
    welcome(session)
    give_backs = [lambda _: RAW("back 1"), None, lambda _: RAW("back 3")]
    call = session.batch([RAW(1), RAW(2), RAW(3)], 0.0, on_orphans=give_backs)
    sent(session)
    session.abandon(call)
    answer(session, 1, [["lease", None], ["lease", None], [None, ["CommandError", "no", {}, None]]])
    asks = [frame for frame in sent(session) if isinstance(frame, Ask)]
    assert [msgspec.msgpack.decode(ask.command) for ask in asks] == ["back 1"]


def test_a_refusal_for_nobody_is_not_given_back(session: Session) -> None:
    """There is nothing to give back, nor for a result without a way to do so."""
    welcome(session)
    for _ in range(2):
        session.abandon(session.call(RAW(1), 0.0, on_orphan=lambda _: RAW("back")))
    sent(session)
    answer(session, 1, None, Failure("CommandError", "no", {}))
    assert sent(session) == []


def test_the_end_of_the_session_completes_every_call(session: Session) -> None:
    """Those that wait have the error, and a new call raises it at once."""
    welcome(session)
    call, abandoned = session.call(RAW(1), math.inf), session.call(RAW(1), math.inf)
    session.abandon(abandoned)
    assert session.close(SystemStopped("over")) == [call]
    with pytest.raises(SystemStopped):
        call.value()
    with pytest.raises(SystemStopped):
        session.call(RAW(1), math.inf)


def test_answers_that_nobody_asked_for_are_counted(session: Session) -> None:
    """A stored answer that comes twice, or a refused message, disturbs nothing."""
    welcome(session)
    session.call(RAW(1), math.inf)
    assert answer(session, 1) == 1
    assert answer(session, 1) == 0
    session.receive(frames.encode([Refused("what?")]))
    assert (session._unknown_answers, session._refused, session.revision) == (1, 1, 9)


def test_the_window_counts_what_is_unanswered(session: Session) -> None:
    """One command before the first Welcome, then as many as the owner says."""
    room = [session.has_room]
    session.call(RAW(1), math.inf)
    room.append(session.has_room)
    welcome(session)
    for _ in range(2):
        session.call(RAW(1), math.inf)
        room.append(session.has_room)
    answer(session, 2)
    room.append(session.has_room)
    assert room == [True, False, True, False, True]


def test_a_lost_answer_is_asked_for_again(session: Session) -> None:
    """After an interrupt that may have swallowed answers, everything unanswered is sent once more, in order."""
    welcome(session)
    calls = [session.call(b"\x90", 10.0) for _ in range(3)]
    sent(session)
    answer(session, calls[1].number)
    session.ask_again()
    assert numbers(sent(session)) == [calls[0].number, calls[2].number]


def acknowledgements(session: Session) -> list[frames.ToOwner]:
    """Those among what the session wants to send now."""
    return [frame for frame in sent(session) if isinstance(frame, Acked)]


def test_answers_past_a_waiting_command_are_acknowledged_some_at_a_time(session: Session) -> None:
    """Many, or few that are long; without a gap the next command does it."""
    session.receive(frames.encode([Welcome(1, 5, 1_000)]))
    for _ in range(2 * ACKNOWLEDGE_AFTER + 10):
        session.call(RAW(1), math.inf)
    assert acknowledgements(session) == []
    for number in range(2, ACKNOWLEDGE_AFTER + 1):
        answer(session, number)
    assert acknowledgements(session) == []
    answer(session, ACKNOWLEDGE_AFTER + 1)
    assert acknowledgements(session) == [Acked([(2, ACKNOWLEDGE_AFTER + 1)])]
    answer(session, ACKNOWLEDGE_AFTER + 2, b"x" * (ACKNOWLEDGE_BYTES - 1_000))
    assert acknowledgements(session) == []
    answer(session, ACKNOWLEDGE_AFTER + 3, b"x" * 1_000)
    assert acknowledgements(session) == [Acked([(2, ACKNOWLEDGE_AFTER + 3)])]
    answer(session, ACKNOWLEDGE_AFTER + 4)
    answer(session, 1)
    for number in range(ACKNOWLEDGE_AFTER + 5, 2 * ACKNOWLEDGE_AFTER + 10):
        answer(session, number)
    assert acknowledgements(session) == []


def test_farewell_is_said_to_an_owner_that_has_said_welcome(session: Session) -> None:
    """Before that, and after the end, there is nobody to say it to."""
    session.leave()
    assert sent(session) == []
    welcome(session)
    session.leave()
    assert sent(session) == [Hello(1, []), Bye()]
    session.close(SystemStopped("over"))
    session.leave()
    assert sent(session) == []


def test_a_call_is_cancelled_once_and_again_for_each_new_owner(session: Session) -> None:
    """What was answered is not cancelled any more."""
    welcome(session)
    call, answered = session.call(RAW(1), math.inf), session.call(RAW(1), math.inf)
    sent(session)
    answer(session, answered.number)
    for abandoned in (call, call, answered):
        session.abandon(abandoned)
    assert sent(session) == [Cancel(1)]
    welcome(session, 2)
    assert sent(session)[1:] == [call.ask, Cancel(1)]


def test_what_is_asked_again_comes_after_an_unsent_hello(session: Session) -> None:
    """Without it the owner would not hear the rest."""
    call = session.call(RAW(1), math.inf)
    welcome(session)
    session.ask_again()
    assert sent(session) == [Hello(1, []), call.ask]


def test_a_grant_is_not_given_back_to_a_session_that_is_over(session: Session) -> None:
    """The owner has taken it back already, so whoever is interrupted then has no error of that."""
    welcome(session)
    call = session.call(RAW(1), math.inf, on_orphan=lambda _: RAW("back"))
    answer(session, 1, "lease")
    session.close(SystemStopped("over"))
    session.abandon(call)
    assert sent(session) == []


def test_a_revision_does_not_go_back(session: Session) -> None:
    """An answer from memory has an old one."""
    welcome(session)
    for number, revision in ((1, 9), (2, 7)):
        session.call(RAW(1), math.inf)
        session.receive(frames.encode([Answer(number, msgspec.Raw(RAW(1)), None, revision)]))
    assert session.revision == 9


def test_what_was_sent_again_and_what_expired_is_counted(session: Session) -> None:
    """The first Welcome sends nothing again; an error of the runtime keeps its words."""
    calls = [session.call(RAW(1), math.inf) for _ in range(3)]
    welcome(session)
    answer(session, 1, None, Failure("Overloaded", "too much", {}))
    welcome(session, 2)
    session.expire(calls[1])
    assert (session._resent, session._expired, str(calls[0].error)) == (2, 1, "too much")


def test_batches_count_with_their_commands(session: Session) -> None:
    """They share a message only as long as they fit together."""
    welcome(session)
    sent(session)
    for _ in range(2):
        session.batch([RAW(b"x" * (MESSAGE_BYTES // 3))] * 2, math.inf)
    assert len(frames.decode_to_owner(session.outgoing() or b"")) == 1


def test_a_session_that_is_over_has_nothing_to_send_and_nothing_open(session: Session) -> None:
    """Its statistics say how far it came."""
    welcome(session)
    for _ in range(3):
        session.call(RAW(1), math.inf)
    answer(session, 1)
    ours, theirs = Channel.pair()
    found = session.statistics(ours.statistics())
    assert (found.asked, found.answered, found.unanswered) == (3, 1, 2)
    session.close(SystemStopped("over"))
    assert (sent(session), session.unanswered) == ([], 0)
    ours.close()
    theirs.close()
