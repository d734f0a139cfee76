"""Which server a command speaks to, and what is said when there is none."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.server_file import NAME, ServerFile
from registry.supervisor import Supervisor
from tests.registry.cli.commands import Command, answering, closed_port, other_server

SECRET = "do-not-show"
CERTIFICATE = Path(__file__).with_name("self_signed.pem")


def announce(directory: Path, url: str, pid: int | None = None) -> str:
    """Write what a server in a directory would; the directory as an argument."""
    directory.mkdir(exist_ok=True)
    ServerFile(url, os.getpid() if pid is None else pid).write(directory)
    return str(directory)


def gone() -> int:
    """The id of a process that has ended."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    return pid


def test_no_such_directory(command: Command, tmp_path: Path) -> None:
    """A data directory that is not there is named, with what would help."""
    said = command("status", "--data-dir", str(tmp_path / "no")).sentence(3)
    assert said.startswith(f"no server was found: there is no data directory {tmp_path}/no; ")
    assert "--data-dir" in said
    assert "--server" in said


def test_directory_where_nothing_runs(command: Command, tmp_path: Path) -> None:
    """A directory without a server says how one is started."""
    said = command("status", "--data-dir", str(tmp_path)).sentence(3)
    assert said.startswith(f"no server was found: none runs in {tmp_path}; start one by `serve`")


def test_directory_of_a_python_program(command: Command, tmp_path: Path) -> None:
    """A system without HTTP is told from none at all, and the way to join it is named."""
    with Supervisor(tmp_path):
        said = command("status", "--data-dir", str(tmp_path)).sentence(3)
    assert f"registry.connect({str(tmp_path)!r})" in said
    assert command("status", "--data-dir", str(tmp_path)).sentence(3).startswith("no server was found: none runs")


def test_usual_directory(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word on where, the directory is the one that `serve` takes."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert f"{tmp_path}/actor-registry" in command("status").sentence(3)


def test_server_that_was_killed(command: Command, tmp_path: Path) -> None:
    """The file of a process that is no more is not believed: whoever has its port now would be handed the key."""
    with other_server() as somebody:
        pid = gone()
        said = command("status", "--data-dir", announce(tmp_path, somebody.url, pid)).sentence(3)
        assert somebody.seen == []
    assert said == (
        f"{tmp_path / NAME} names {somebody.url}, but process {pid} that served there was killed; start the server anew"
    )


def test_server_that_does_not_listen(command: Command, tmp_path: Path) -> None:
    """The file of a living process at whose address nobody listens is named with address and process."""
    url = f"http://127.0.0.1:{closed_port()}"
    said = command("status", "--data-dir", announce(tmp_path, url)).sentence(3)
    assert said.startswith(f"nobody answers at {url} (Connection refused): {tmp_path / NAME} names it for process ")
    assert str(os.getpid()) in said


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"url": 1, "pid": 1}', b'{"url": "http://x"}', b'{"url": "\xff", "pid": 1}', b" " * 10_000],
)
def test_file_that_is_damaged(command: Command, tmp_path: Path, content: bytes) -> None:
    """A file that holds something else is named."""
    (tmp_path / NAME).write_bytes(content)
    said = command("status", "--data-dir", str(tmp_path)).sentence(3)
    assert said.startswith(f"{tmp_path / NAME} cannot be used: it does not say where a server is (")


@pytest.mark.parametrize("pid", [0, -1, 2**40])
def test_file_of_no_process(command: Command, tmp_path: Path, pid: int) -> None:
    """A number that cannot be a server's is as good as a damaged file; no group of processes is signalled."""
    (tmp_path / NAME).write_text(f'{{"url": "http://127.0.0.1:9", "pid": {pid}}}')
    said = command("status", "--data-dir", str(tmp_path)).sentence(3)
    assert said.startswith(f"{tmp_path / NAME} cannot be used: it does not say where a server is (")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_file_that_is_none(command: Command, tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A pipe to which nobody writes, or a device, is not read."""
    make(tmp_path / NAME)
    said = command("status", "--data-dir", str(tmp_path)).sentence(3)
    assert said == f"{tmp_path / NAME} cannot be used: it is not an ordinary file"


def test_file_that_cannot_be_read(command: Command, tmp_path: Path) -> None:
    """What stands in the way of reading it is said."""
    (tmp_path / NAME).mkdir()
    said = command("status", "--data-dir", str(tmp_path)).sentence(3)
    assert said == f"{tmp_path / NAME} cannot be read: Is a directory"


def test_directory_that_is_a_file(command: Command, tmp_path: Path) -> None:
    """A data directory that is none is named."""
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in command("status", "--data-dir", str(tmp_path / "file")).sentence(3)


def test_order(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags go over the environment, and an address over a directory."""
    urls = [f"http://127.0.0.1:{closed_port()}" for _ in range(4)]
    flag, variable, directory, other = urls
    monkeypatch.setenv("ACTOR_REGISTRY_DATA_DIR", announce(tmp_path / "a", directory))
    assert directory in command("status").sentence(3)
    monkeypatch.setenv("ACTOR_REGISTRY_SERVER", variable)
    assert variable in command("status").sentence(3)
    assert other in command("status", "--data-dir", announce(tmp_path / "b", other)).sentence(3)
    assert flag in command("status", "--server", flag).sentence(3)
    monkeypatch.setenv("ACTOR_REGISTRY_SERVER", "")
    assert directory in command("status").sentence(3)


def test_two_flags(command: Command, tmp_path: Path) -> None:
    """An address and a directory are two servers."""
    said = command("status", "--server", "http://a", "--data-dir", str(tmp_path)).sentence(2)
    assert said.startswith("--server and --data-dir exclude each other")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:8081", "must begin with http:// or https://"),
        ("", "must begin with http:// or https://"),
        ("ftp://a", "must begin with http:// or https://"),
        ("http://", "has no host"),
        ("http://a:99999", "Port out of range"),
        ("http://a/?x=1", "must not have a query or a fragment"),
        ("http://a b", "holds spaces or control characters"),
        ("http://\x1b[31m", "holds spaces or control characters"),
        ("http://" + "a" * 3000, "longer than 2048 characters"),
        ("http://-..-", "cannot be called"),
    ],
)
def test_wrong_address(command: Command, url: str, said: str) -> None:
    """An address that is none is refused before anything is sent."""
    refusal = command("status", "--server", url).sentence(2)
    assert said in refusal
    assert "\x1b" not in refusal


def test_address_with_a_password(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password in the address is refused and not shown, wherever it comes from."""
    said = command("status", "--server", f"http://me:{SECRET}@a").sentence(2)
    assert said.startswith("--server: must not hold a user name or password")
    monkeypatch.setenv("ACTOR_REGISTRY_SERVER", f"me:{SECRET}@a")
    assert SECRET not in said + command("status").sentence(2)


def test_nobody_at_the_address(command: Command) -> None:
    """A refused connection, and a name that is not known, are said with the address."""
    url = f"http://127.0.0.1:{closed_port()}"
    assert command("status", "--server", url).sentence(3).startswith(f"nobody answers at {url} (Connection refused)")
    said = command("status", "--server", "http://no.such.host.invalid").sentence(3)
    assert said.startswith("nobody answers at http://no.such.host.invalid (")


@pytest.mark.parametrize("status", [200, 301, 404, 500])
def test_another_program(command: Command, status: int) -> None:
    """An answer that is not the registry's is not taken for one, whatever it says."""
    with other_server(status) as other:
        said = command("backends", "--server", other.url).sentence(3)
        assert said.startswith(f"what answers at {other.url} is not actor-registry (it says: {status} ")
        assert ("https://elsewhere.example/" in said) == (status == 301)


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nx-registry-gateway: g/1\r\ncontent-length: 9\r\n\r\n{"]
)
def test_broken_answer(command: Command, answer: bytes) -> None:
    """A server that hangs up, speaks something else, or ends in the midst of its answer is said to do so."""

    def speak(client: socket.socket) -> None:
        client.recv(65_536)
        client.sendall(answer)

    with answering(speak) as address:
        said = command("status", "--server", f"http://{address}").sentence(3)
        assert said.startswith(f"http://{address} broke the connection off (")
        said = command("backends", "drain", "a", "--server", f"http://{address}").sentence(3)
        assert said.endswith("it may have been done all the same: look before you repeat it")


def test_answer_that_is_no_json(command: Command) -> None:
    """A registry's answer that cannot be read is no traceback."""

    def speak(client: socket.socket) -> None:
        client.recv(65_536)
        client.sendall(b"HTTP/1.1 200 OK\r\nx-registry-gateway: g/1\r\ncontent-length: 1\r\n\r\n{")

    with answering(speak) as address:
        said = command("status", "--server", f"http://{address}").sentence(3)
    assert said.startswith(f"http://{address} answered something that is no JSON")


def test_server_that_hangs(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes a request and says nothing is not waited for without end."""
    monkeypatch.setattr("registry.cli.client.ANSWER_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert command("status", "--server", url).sentence(3) == f"{url} did not answer in time"
        said = command("leases", "release", "1", "--server", url).sentence(3)
        assert said == f"{url} did not answer in time; it may have been done all the same: look before you repeat it"


def test_certificate_that_is_not_trusted(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that nobody has signed is refused, with the variable that helps."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    def speak(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as secure:
            secure.recv(65_536)

    with answering(speak) as address:
        said = command("status", "--server", f"https://{address}").sentence(3)
        assert said.startswith(f"the certificate of https://{address} is not trusted: ")
        assert "SSL_CERT_FILE" in said
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        said = command("status", "--server", f"https://{address}").sentence(3)
        assert said.startswith(f"https://{address} broke the connection off (")


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_trusted_certificates_that_cannot_be_loaded(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    """A file of certificates that is not there, or is none, is told of by the name of its variable."""
    if content is not None:
        (tmp_path / "certificates").write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificates"))
    said = command("status", "--server", "https://127.0.0.1:9").sentence(2)
    assert said.startswith("the trusted certificates cannot be loaded (")
    assert "SSL_CERT_FILE" in said


def test_server_without_tls(command: Command) -> None:
    """An https address of a server that speaks plain HTTP says which of the two it is."""
    with answering(lambda client: client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as address:
        said = command("status", "--server", f"https://{address}").sentence(3)
    assert said.startswith(f"https://{address} does not speak TLS as it should")
    assert said.endswith("should it be http:// ?")


def test_no_proxy_for_this_machine(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is not asked for what runs on this machine."""
    with other_server() as proxy, other_server() as other:
        monkeypatch.setenv("http_proxy", proxy.url)
        command("status", "--server", other.url)
        assert (len(proxy.seen), len(other.seen)) == (0, 1)
        command("status", "--server", "http://registry.example")
        assert len(proxy.seen) == 1


@pytest.mark.parametrize("key", [f"{SECRET}\n{SECRET}", f"ключ-{SECRET}", f"\x7f{SECRET}"])
def test_admin_key_that_cannot_be_sent(command: Command, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """A key that cannot stand in a header is refused by the name of its variable, and not shown."""
    monkeypatch.setenv("ACTOR_REGISTRY_ADMIN_KEY", key)
    said = command("backends", "drain", "a", "--server", "http://127.0.0.1:9").sentence(2)
    assert said == "ACTOR_REGISTRY_ADMIN_KEY: must be one line of ASCII characters"


def test_admin_key_is_sent_with_changes_only(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading needs no key, so none is shown to whoever answers."""
    monkeypatch.setenv("ACTOR_REGISTRY_ADMIN_KEY", f"{SECRET}\n")
    with other_server() as other:
        command("backends", "--server", other.url)
        command("backends", "drain", "a", "--server", other.url)
        sent = [headers.get("authorization") for headers in other.seen]
    assert sent == [None, f"Bearer {SECRET}"]
