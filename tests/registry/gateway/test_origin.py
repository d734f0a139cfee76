"""Which web pages may write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.gateway.origin import OriginPolicy, refuse_read, refuse_write
from tests.loops import on_loop
from tests.registry.gateway.stand_ins import CALL, get, post, world

LOOPBACK = OriginPolicy(
    loopback=True, allowed_hosts=frozenset({"gpu-box"}), allowed_origins=frozenset({"https://chat.example"})
)
ANYWHERE = OriginPolicy(loopback=False, allowed_hosts=LOOPBACK.allowed_hosts, allowed_origins=LOOPBACK.allowed_origins)
POLICIES = st.sampled_from([LOOPBACK, ANYWHERE])
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,10}){1,3}", fullmatch=True)
TRUSTED = st.sampled_from(["localhost", "LOCALHOST", "127.0.0.1", "[::1]", "gpu-box", "192.168.1.7"])
PORTS = st.sampled_from(["", ":8081", ":443"])
SITES = st.sampled_from([None, b"same-origin", b"same-site", b"none"])


def refused(policy: OriginPolicy, host: str | None, origin: str | None, site: bytes | None = None) -> bool:
    """Whether a write with these fields is refused."""
    host_field = None if host is None else host.encode("latin-1")
    origin_field = None if origin is None else origin.encode("latin-1")
    return refuse_write(policy, host=host_field, origin=origin_field, fetch_site=site) is not None


@given(POLICIES, TRUSTED, PORTS, SITES)
def test_own_pages_may_write(policy: OriginPolicy, name: str, port: str, site: bytes | None) -> None:
    """A page loaded from this very server may write, if it was called by a name that is known to be its own."""
    assert not refused(policy, name + port, f"http://{name}{port}".lower(), site)


@given(POLICIES, NAMES, TRUSTED, PORTS, SITES)
def test_foreign_pages_may_not_write(policy: OriginPolicy, page: str, name: str, port: str, site: bytes | None) -> None:
    """A page of any other host is refused, whatever else the request says."""
    assert refused(policy, name + port, f"https://{page}", site)


@given(POLICIES, NAMES, PORTS)
def test_rebound_names_may_not_write(policy: OriginPolicy, name: str, port: str) -> None:
    """A foreign name that was made to lead here is no name of ours, though page and host agree."""
    assert refused(policy, name + port, f"http://{name}{port}")


@given(POLICIES, TRUSTED)
def test_another_port_is_another_page(policy: OriginPolicy, name: str) -> None:
    """A page of another server on the same machine is foreign."""
    assert refused(policy, f"{name}:8081", f"http://{name}:3000")


@given(POLICIES, st.one_of(TRUSTED, NAMES), PORTS)
def test_named_pages_may_write(policy: OriginPolicy, name: str, port: str) -> None:
    """A page that was named may write from wherever it is."""
    assert not refused(policy, name + port, "https://chat.example", b"cross-site")


@given(POLICIES, TRUSTED, st.one_of(st.none(), st.just("null"), TRUSTED.map("http://{}".format)))
def test_cross_site_and_null_are_refused(policy: OriginPolicy, name: str, origin: str | None) -> None:
    """What the browser itself calls foreign, or hides the page of, is refused."""
    assert refused(policy, name, origin, b"cross-site")
    assert refused(policy, name, "null")


@given(st.one_of(NAMES, TRUSTED), PORTS)
def test_programs_may_write(name: str, port: str) -> None:
    """Without an Origin any Host will do, except on a loopback address, where it must be one of this machine."""
    assert not refused(ANYWHERE, name + port, None)
    own = name.lower() in {"localhost", "127.0.0.1", "[::1]", "gpu-box"}
    assert refused(LOOPBACK, name + port, None) != own


@given(POLICIES, st.binary(max_size=40), st.binary(max_size=40))
def test_any_bytes_get_a_decision(policy: OriginPolicy, host: bytes, origin: bytes) -> None:
    """No header field, however odd, makes the decision fail; an odd page is never allowed."""
    assert refuse_write(policy, host=host, origin=origin, fetch_site=None) is not None
    refuse_write(policy, host=host, origin=None, fetch_site=host)


@pytest.mark.parametrize("host", ["localhost@evil.example", "evil.example/localhost", "localhost:x", "", "localhost "])
def test_odd_hosts_are_not_this_machine(host: str) -> None:
    """A Host field that only looks like this machine's is not taken for it."""
    assert refused(LOOPBACK, host, None)


@given(TRUSTED, PORTS)
def test_known_names_may_be_read(name: str, port: str) -> None:
    """The server may be read under an address, as localhost, and by the names that were given for it."""
    for policy in (LOOPBACK, ANYWHERE):
        assert refuse_read(policy, f"{name}{port}".encode()) is None


@given(NAMES, PORTS)
def test_rebound_names_may_not_be_read(name: str, port: str) -> None:
    """On loopback a foreign name is no name of ours; elsewhere any name may lead here."""
    host = f"{name}{port}".encode()
    assert refuse_read(LOOPBACK, host) == f"{name} is not a name of this server. To allow it, add it to allowed_hosts."
    assert refuse_read(ANYWHERE, host) is None


@given(st.binary(max_size=40))
def test_odd_hosts_may_not_be_read(host: bytes) -> None:
    """A Host field gets a decision whatever it holds; an old program that sends none is no browser."""
    refuse_read(LOOPBACK, host)
    assert refuse_read(LOOPBACK, host + b"@x") is not None
    assert refuse_read(LOOPBACK, None) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@on_loop
async def test_control_plane_is_not_read_under_a_foreign_name(method: str) -> None:
    """Backends' addresses are told to nobody who calls the server by a name that is not its own."""
    async with world() as w:
        answer = await w.ask(f"{method} /backends HTTP/1.1\r\nHost: evil.example\r\n\r\n".encode())
        assert (answer.status, answer.headers["content-type"]) == (403, "application/problem+json")
        assert w.registry.errors == [403]
        models = await w.ask(b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert models.status == 200


@pytest.mark.parametrize(
    ("request_bytes", "media_type"),
    [
        (post(b'{"model":"m"}', "Origin: https://evil.example"), "application/json"),
        (post(b'{"model":"m"}', host="evil.example"), "application/json"),
        (get("/backends/x", "Origin: https://evil.example", method="DELETE"), "application/problem+json"),
    ],
)
@on_loop
async def test_refused_write_gets_403_with_the_reason(request_bytes: bytes, media_type: str) -> None:
    """A refused write reaches nobody, and its sender is told why and what would allow it."""
    async with world() as w:
        answer = await w.ask(request_bytes)
        assert (answer.status, answer.headers["content-type"]) == (403, media_type)
        assert b"allowed_" in answer.received
        assert not w.registry.acquired.is_set()
        assert w.registry.errors == [403]


@on_loop
async def test_reads_of_foreign_pages_are_the_browsers_matter() -> None:
    """GET is answered whatever the page; without leave from us the browser shows it nothing."""
    async with world() as w:
        answer = await w.ask(get("/v1/models", "Origin: https://evil.example"))
        assert answer.status == 200
        assert "access-control-allow-origin" not in answer.headers
        assert (await w.ask(CALL)).status == 200
