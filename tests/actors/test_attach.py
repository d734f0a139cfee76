"""The supervisor's door, and the processes before it."""

from __future__ import annotations

import logging
import os
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors import attach as joining
from actors.attach import VERSION, Entered, Knock, TurnedAway, attach
from actors.channel import Channel
from actors.clock import SystemClock
from actors.errors import AttachFailed, QueueClosed, SupervisorError
from actors.processes import attach_listener
from actors.processes.attach_listener import AttachListener, Credentials, peer_credentials
from actors.processes.control import Control
from actors.processes.reactor import Reactor
from tests.forking import Forked, in_fork
from tests.polling import until


class Door:
    """A listener on a loop in a thread, with sessions that only this test knows."""

    def __init__(self, path: Path, credentials: Callable[[socket.socket], Credentials] = peer_credentials) -> None:
        self.path = path
        self.left: list[int] = []
        self.pids: list[int] = []
        self.ends: dict[int, Channel] = {}
        self._reactor = Reactor(SystemClock())
        with ExitStack() as undo:
            undo.callback(self._reactor.close)
            self.listener = AttachListener(str(path), self._reactor, self._join, self._leave, credentials)
            undo.pop_all()
        self._orders: list[Callable[[], None]] = []
        self._read, self._write = os.pipe()
        self._reactor.watch(self._read, self._obey)
        self._running = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _join(self, pid: int) -> tuple[int, Channel]:
        self.pids.append(pid)
        ours, theirs = Channel.pair()
        session = len(self.ends) + 1
        self.ends[session] = ours
        return session, theirs

    def _leave(self, session: int) -> None:
        self.left.append(session)

    def _run(self) -> None:
        while self._running:
            self._reactor.turn()

    def _obey(self) -> None:
        os.read(self._read, 1)
        self._orders.pop()()

    def do(self, order: Callable[[], None]) -> None:
        """Call something within the loop."""
        self._orders.append(order)
        os.write(self._write, b".")

    def has_left(self, session: int) -> None:
        """Wait until the listener has told of the end of a session."""
        until(lambda: session in self.left, f"the end of session {session}")

    def close(self) -> None:
        """End it; the listener may have been closed before."""

        def end() -> None:
            self._running = False
            if self.path.exists():
                self.listener.close()

        self.do(end)
        self._thread.join(10)
        self._reactor.close()
        for end_of_queue in self.ends.values():
            end_of_queue.close()
        os.close(self._read)
        os.close(self._write)


@contextmanager
def opened(path: Path, credentials: Callable[[socket.socket], Credentials] = peer_credentials) -> Iterator[Door]:
    """A door for the length of a block."""
    door = Door(path, credentials)
    try:
        yield door
    finally:
        door.close()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """A door for one test."""
    with opened(tmp_path / "s.sock") as door:
        yield door


def stranger(path: Path) -> socket.socket:
    """A connection that has said nothing."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(10)
    sock.connect(str(path))
    return sock


def answer_to(sock: socket.socket, message: Any) -> Any:
    """What the listener says to a message."""
    sock.send(msgspec.msgpack.encode(message))
    return msgspec.msgpack.decode(sock.recv(4096))


def is_closed(sock: socket.socket) -> bool:
    """Whether the listener has closed a connection; waits for it."""
    try:
        return sock.recv(4096) == b""
    except ConnectionResetError:
        return True


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


# -- joining and leaving -------------------------------------------------------------------------------------------


def test_a_process_that_knocks_gets_a_queue(door: Door) -> None:
    """Both ends of it talk to each other, and its close is the end of the session."""
    channel = attach(door.path)
    channel.post(b"hello")
    assert until(door.ends[1].receive, "the message") == b"hello"
    channel.shutdown()
    door.has_left(1)
    with pytest.raises(QueueClosed):
        door.ends[1].receive()


def test_close_alone_ends_the_session_too(door: Door) -> None:
    """The connection goes with the queue's end, in whatever way that is given up."""
    attach(door.path).close()
    door.has_left(1)


def test_hanging_up_ends_the_session_for_all_duplicates(door: Door) -> None:
    """A forked child that still holds copies of the descriptors does not keep a session alive that was closed."""
    channel = attach(door.path)
    copies = [os.dup(fd) for fd in (channel.fileno(), channel._line.fileno())]  # type: ignore[attr-defined]  # behind the face
    channel.shutdown()
    door.has_left(1)
    for fd in copies:
        os.close(fd)


def test_a_process_that_dies_leaves(door: Door) -> None:
    """SIGKILL ends all sessions of a process and no other."""
    mine = attach(door.path)
    ready, write = os.pipe()

    def hold() -> None:
        held = [attach(door.path), attach(door.path)]
        os.write(write, b".")
        threading.Event().wait()
        del held

    child = Forked(hold)
    os.read(ready, 1)
    assert not door.left
    child.kill()
    door.has_left(2)
    door.has_left(3)
    assert sorted(door.left) == [2, 3]
    mine.close()
    os.close(ready)
    os.close(write)


def test_a_child_that_keeps_the_descriptors_keeps_nothing(door: Door) -> None:
    """The death of the process that joined counts, also while a child of it holds copies of all that it had open."""
    told, tell = os.pipe()

    def hold() -> None:
        channel = attach(door.path)
        for fd in (channel.fileno(), channel._line.fileno()):  # type: ignore[attr-defined]  # behind the face
            os.dup(fd)  # a number that no hook knows of
        grandchild = Forked(threading.Event().wait)
        os.write(tell, str(grandchild.pid).encode())
        threading.Event().wait()

    child = Forked(hold)
    grandchild = int(os.read(told, 20))
    child.kill()
    door.has_left(1)
    os.kill(grandchild, 0)  # it lives
    os.kill(grandchild, 9)
    os.close(told)
    os.close(tell)


def test_fifty_at_once(door: Door) -> None:
    """A crowd of processes that knock at the same moment all get sessions of their own."""
    start, go = os.pipe()

    def join() -> int:
        os.close(go)
        os.read(start, 1)
        with closing(attach(door.path)):
            return 1

    children = [Forked(join) for _ in range(50)]
    os.close(go)
    assert sum(child.result() for child in children) == 50
    until(lambda: sorted(door.left) == list(range(1, 51)), "all have left")
    os.close(start)


def test_nothing_is_left_open(door: Door) -> None:
    """After 200 processes have come and gone, the supervisor has as many descriptors as before."""
    attach(door.path).close()
    door.has_left(1)
    door.ends.pop(1).close()
    before = descriptors()
    for number in range(200):
        attach(door.path).close()
        with closing(stranger(door.path)) as sock:
            sock.send(b"garbage")
        until(lambda: len(door.left) == number + 2, "it has left")  # noqa: B023 - used at once
        door.ends.pop(1).close()
    until(lambda: descriptors() == before, "all descriptors are closed")


# -- the socket ----------------------------------------------------------------------------------------------------


def test_the_socket_is_its_users_alone(door: Door) -> None:
    """Nobody else may connect, and the mask of other files is left as it was."""
    assert stat.S_IMODE(door.path.stat().st_mode) == 0o600
    before = os.umask(0o022)
    os.umask(before)
    assert before != 0o177


def test_the_socket_of_a_dead_system_is_replaced(tmp_path: Path) -> None:
    """What a killed supervisor has left behind is no obstacle, and until then says that nobody listens."""
    path = tmp_path / "s.sock"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as dead:
        dead.bind(str(path))
    with pytest.raises(AttachFailed, match="has ended: nobody listens"):
        attach(path)
    with opened(path):
        attach(path).close()
    assert not path.exists()


def test_another_kind_of_file_is_not_replaced(tmp_path: Path) -> None:
    """A file in the way is somebody's; it stays, and the reason is told."""
    path = tmp_path / "s.sock"
    path.write_text("mine")
    with pytest.raises(AttachFailed, match=r"there can be no socket at .*: Address already in use"):
        Door(path)
    assert path.read_text() == "mine"
    with pytest.raises(AttachFailed, match="is not a socket"):
        attach(path)


@pytest.mark.parametrize("use", [attach, Door])
def test_a_path_that_is_too_long(tmp_path: Path, use: Callable[[Path], object]) -> None:
    """The sentence names the length, the limit and the remedy, on both sides; one byte less is fine."""
    fitting = tmp_path / ("x" * (107 - len(os.fsencode(tmp_path)) - 1))
    with pytest.raises(AttachFailed, match=r"has 108 bytes, .* may have 107; use a data directory with a shorter path"):
        use(Path(f"{fitting}y"))
    with opened(fitting):
        attach(fitting).close()


def test_bytes_are_counted_not_characters(tmp_path: Path) -> None:
    """A path in another script is longer than it looks."""
    name = "ж" * (110 - len(str(tmp_path)) - 1)
    with pytest.raises(AttachFailed, match=rf"has {len(os.fsencode(tmp_path / name))} bytes"):
        attach(tmp_path / name)


# -- who is let in -------------------------------------------------------------------------------------------------


def test_another_user_is_refused() -> None:
    """Even if the file's mode would let it in. Not being root, the test's listener takes this user for another one."""
    other = 65534

    def pretend(sock: socket.socket) -> Credentials:
        return Credentials(peer_credentials(sock).pid, other)

    def knock() -> None:
        if os.geteuid() == 0:
            os.setuid(other)
        attach(path)

    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        path = Path(directory) / "s.sock"
        with opened(path, peer_credentials if os.geteuid() == 0 else pretend) as door:
            path.chmod(0o666)
            with pytest.raises(AssertionError, match=f"did not let this process in: .* this process to user {other}"):
                in_fork(knock)
            assert not door.ends


def test_root_is_let_in(tmp_path: Path) -> None:
    """Root may look at every user's system. The credentials are a stand-in's."""
    with opened(tmp_path / "s.sock", lambda sock: Credentials(peer_credentials(sock).pid, 0)) as door:
        attach(door.path).close()


def test_a_socket_that_this_user_may_not_open() -> None:
    """The file's mode is the first obstacle, and has a sentence of its own. Root obeys no mode, and becomes another."""

    def knock() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)
        attach(path)

    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        path = Path(directory) / "s.sock"
        with opened(path):
            path.chmod(0)
            with pytest.raises(AssertionError, match="no permission to join the system at"):
                in_fork(knock)


def test_a_system_that_stops_lets_nobody_in(door: Door) -> None:
    """The refusal carries the reason."""
    door.do(lambda: door.listener.refuse("it is stopping: asked to stop"))

    def refusal() -> str:
        try:
            attach(door.path).close()
        except AttachFailed as error:
            return str(error)
        return ""

    assert "did not let this process in: it is stopping: asked to stop" in until(refusal, "the refusal")


def test_another_version_is_refused(door: Door) -> None:
    """Programs of different versions say so instead of misunderstanding each other."""
    with closing(stranger(door.path)) as sock:
        answer = answer_to(sock, Knock(VERSION + 1))
    assert answer["reason"] == f"it speaks version {VERSION} of the protocol, and this process version {VERSION + 1}"
    assert not door.ends


def test_a_full_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the supervisor has no room for another session, the process is told what it says."""
    with opened(tmp_path / "s.sock") as door:

        def refuse(pid: int) -> tuple[int, Channel]:  # noqa: ARG001 - the contract's
            raise SupervisorError("7 processes are as many as it can")

        monkeypatch.setattr(door.listener, "_join", refuse)
        with pytest.raises(AttachFailed, match="did not let this process in: 7 processes are as many as it can"):
            attach(door.path)


def test_no_session_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the machine has no descriptors left, the process is told and the supervisor goes on."""
    with opened(tmp_path / "s.sock") as door:

        def fail(pid: int) -> tuple[int, Channel]:  # noqa: ARG001 - the contract's
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(door.listener, "_join", fail)
        with pytest.raises(AttachFailed, match="it cannot at the moment: Too many open files"):
            attach(door.path)
        monkeypatch.undo()
        attach(door.path).close()


# -- strangers -----------------------------------------------------------------------------------------------------


def test_garbage_gets_a_refusal_and_an_end(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """Foreign bytes are refused, with one line in the log however many come; nobody else is concerned."""
    mine = attach(door.path)
    with caplog.at_level(logging.WARNING):
        for garbage in (
            b"\x00",
            b"GET / HTTP/1.1\r\n\r\n",
            os.urandom(1000),
            msgspec.msgpack.encode({"type": "Knock"}),
        ):
            with closing(stranger(door.path)) as sock:
                sock.send(garbage)
                assert b"did not understand" in sock.recv(4096)
                assert is_closed(sock)
    assert len(caplog.records) == 1
    mine.post(b"still here")
    assert until(door.ends[1].receive, "the message") == b"still here"
    mine.close()


def test_descriptors_that_strangers_send_are_closed(door: Door) -> None:
    """Whoever sends descriptors along does not fill the supervisor with them."""
    before = descriptors()
    for message in (b"garbage", msgspec.msgpack.encode(Knock(VERSION))):
        with closing(stranger(door.path)) as sock, tempfile.TemporaryFile() as file:
            socket.send_fds(sock, [message], [file.fileno()] * 100)
            _, fds, _, _ = socket.recv_fds(sock, 4096, 10)
            for fd in fds:
                os.close(fd)
    until(lambda: door.left == [1], "the one that was let in has left")
    door.ends.pop(1).close()
    until(lambda: descriptors() == before, "all descriptors are closed")


@pytest.mark.parametrize("let_in", [False, True])
def test_descriptors_of_an_empty_packet_are_closed(door: Door, let_in: bool) -> None:
    """It says nothing and looks like the end, so it is the end; what came with it does not stay."""
    before = descriptors()
    with closing(stranger(door.path)) as sock, tempfile.TemporaryFile() as file:
        if let_in:
            answer_to(sock, Knock(VERSION))
        socket.send_fds(sock, [b""], [file.fileno()] * 100)
        assert is_closed(sock)
    until(lambda: door.left == [1] * let_in, "the one that was let in has left")
    if let_in:
        door.ends.pop(1).close()
    until(lambda: descriptors() == before, "all descriptors are closed")


def test_silence_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that says nothing is closed after a while; one that was let in may be silent for ever."""
    monkeypatch.setattr(attach_listener, "PATIENCE_S", 0.05)
    with opened(tmp_path / "s.sock") as door:
        mine = attach(door.path)
        with closing(stranger(door.path)) as sock:
            assert is_closed(sock)
        assert not door.left
        mine.close()


def test_a_flood_of_silence_keeps_nobody_out(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """More silent connections than the supervisor keeps: the oldest give way, and a process that speaks is let in."""
    monkeypatch.setattr(attach_listener, "PATIENCE_S", 60)
    before = descriptors()
    with ExitStack() as stack:
        crowd = [stack.enter_context(closing(stranger(door.path))) for _ in range(300)]
        attach(door.path).close()
        assert is_closed(crowd[0])
        assert descriptors() <= before + len(crowd) + attach_listener.MAX_WAITING + 10
    door.has_left(1)


def test_whoever_speaks_after_it_was_let_in_is_sent_away(door: Door) -> None:
    """The connection is for one question; a second one ends the session."""
    with closing(stranger(door.path)) as sock:
        assert answer_to(sock, Knock(VERSION)) == msgspec.to_builtins(Entered(1))
        sock.send(msgspec.msgpack.encode(Knock(VERSION)))
        door.has_left(1)
        assert is_closed(sock)


def test_no_descriptors_to_accept_with(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor pauses instead of spinning, and then goes on."""
    real = door.listener._listening
    tried = threading.Event()

    class Full:
        def fileno(self) -> int:
            return real.fileno()

        def accept(self) -> tuple[socket.socket, Any]:
            monkeypatch.setattr(door.listener, "_listening", real)
            tried.set()
            raise OSError(24, "Too many open files")

    monkeypatch.setattr(door.listener, "_listening", Full())
    attach(door.path).close()
    assert tried.is_set()


# -- other places --------------------------------------------------------------------------------------------------


def test_nothing_there(tmp_path: Path) -> None:
    """A directory without a system, and a directory that is none."""
    with pytest.raises(AttachFailed, match=r"there is no system at .*: nothing has that path"):
        attach(tmp_path / "s.sock")
    (tmp_path / "file").touch()
    with pytest.raises(AttachFailed, match="a part of the path is not a directory"):
        attach(tmp_path / "file" / "s.sock")


def test_a_stream_socket_is_another_programs(tmp_path: Path) -> None:
    """Most unix sockets are of another kind."""
    path = tmp_path / "s.sock"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(AttachFailed, match="another program's socket"):
            attach(path)


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        (b"220 welcome", "another program's socket"),
        (msgspec.msgpack.encode(Entered(1)), "another program's socket"),  # without a queue
        (msgspec.msgpack.encode(TurnedAway("no")), "did not let this process in: no"),
        (b"", "closes every connection without an answer"),
        (None, "gave no answer within 0.05 s"),
    ],
)
def test_a_server_of_another_program(tmp_path: Path, says: bytes | None, sentence: str) -> None:
    """Whatever listens there, the process that knocks is told in a sentence and keeps nothing open."""
    path = tmp_path / "s.sock"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as other:
        other.bind(str(path))
        other.listen()

        def serve() -> None:
            for _ in range(joining.ATTEMPTS if says == b"" else 1):
                sock, _ = other.accept()
                with closing(sock):
                    if says is None:
                        sock.recv(4096)
                        done.wait(10)
                    elif says:
                        sock.send(says)
                        sock.recv(4096)

        done = threading.Event()
        server = threading.Thread(target=serve)
        server.start()
        before = descriptors()
        with pytest.raises(AttachFailed, match=sentence):
            attach(path, 0.05 if says is None else 5)
        done.set()
        server.join(10)
        assert descriptors() <= before


def test_a_refusal_is_read_before_the_end(door: Door) -> None:
    """A listener that closes at once, with the question unread, is still heard."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(ours), closing(theirs):
        ours.send(b"unread")
        theirs.send(msgspec.msgpack.encode(TurnedAway("no")))
        theirs.close()
        line: Control[Entered | TurnedAway] = Control(ours, Entered | TurnedAway)
        received = joining._answer(line, str(door.path), 1)
    assert received == (TurnedAway("no"), [])
