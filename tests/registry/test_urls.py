import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InvalidField
from registry.urls import MAX_URL_CHARS, id_from_url, normal_host, normalise_url, server_key


@pytest.mark.parametrize(
    ("spelling", "normal"),
    [
        ("http://host", "http://host"),
        ("http://host/", "http://host"),
        ("http://host///", "http://host"),
        ("HTTP://HOST", "http://host"),
        ("http://host:80", "http://host"),
        ("https://host:443/", "https://host"),
        ("https://host:80", "https://host:80"),
        ("http://host:443", "http://host:443"),
        ("http://host:8000/v1/", "http://host:8000/v1"),
        ("http://host/Models/V1", "http://host/Models/V1"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://[FE80::1]", "http://[fe80::1]"),
        ("http://127.0.0.1:08000", "http://127.0.0.1:8000"),
        ("http://[::FFFF:127.0.0.1]:8000", "http://127.0.0.1:8000"),
        ("http://[::ffff:7f00:1]", "http://127.0.0.1"),
        ("http://[0:0:0::1]", "http://[::1]"),
        ("http://127.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http://2130706433", "http://127.0.0.1"),
        ("http://0X7F.1", "http://127.0.0.1"),
        ("http://0177.0.0.01", "http://127.0.0.1"),
        ("http://10.1.65535", "http://10.1.255.255"),
        ("http://0", "http://0.0.0.0"),
        ("http://256.1", "http://256.1"),
        ("http://10.1.65536", "http://10.1.65536"),
        ("http://08.1", "http://08.1"),
        ("http://4294967296", "http://4294967296"),
    ],
)
def test_spellings_of_one_address_are_one(spelling: str, normal: str) -> None:
    """Scheme, host, port and the last slash are brought into one form; the path keeps its case."""
    assert normalise_url(spelling) == normal
    assert normalise_url(normal) == normal


_EDGES = [0, 1, 255, 256, 65_535, 65_536, 2**24 - 1, 2**24, 2**32 - 1, 2**32]
_FORMS = st.sampled_from(["{}", "0x{:x}", "0X{:X}", "0{:o}"])
_PART = st.builds(str.format, _FORMS, st.integers(0, 2**33) | st.sampled_from(_EDGES))


@given(st.lists(_PART, min_size=1, max_size=5).map(".".join))
def test_numbers_are_the_address_that_is_connected_to(host: str) -> None:
    """What the operating system takes for an IPv4 address becomes just that one; anything else stays a name."""
    try:
        expected = socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        expected = host.lower()
    assert normal_host(host) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must begin with http:// or https://"),
        ("host:8000", "must begin with http:// or https://"),
        ("ftp://host", "must begin with http:// or https://"),
        ("unix:///run/server", "must begin with http:// or https://"),
        ("http://", "has no host"),
        ("http:///v1", "has no host"),
        ("http://user:secret@host", "user name or password"),
        ("http://user@host", "user name or password"),
        ("http://:secret@host", "user name or password"),
        ("http://host/?key=secret", "query or a fragment"),
        ("http://host/#part", "query or a fragment"),
        ("http://host:0", "port 0"),
        ("http://host:65536", "Port out of range"),
        ("http://host:eighty", "Port could not be cast"),
        ("http://[::1", "Invalid IPv6"),
        ("http://[v1.x]", "no host name and no address"),
        ("http://ho st", "spaces or control characters"),
        ("http://host\r\nX-Evil: 1", "spaces or control characters"),
        ("http://host\x00", "spaces or control characters"),
        ("http://" + "h" * MAX_URL_CHARS, "longer than"),
    ],
)
def test_addresses_nobody_could_call_are_refused(url: str, reason: str) -> None:
    """What is wrong with an address is said, under the name of the field, without its secrets."""
    with pytest.raises(InvalidField, match=reason) as refusal:
        normalise_url(url)
    assert refusal.value.field == "url"
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "id"), [("http://127.0.0.1:8001/", "127.0.0.1:8001"), ("https://gpu:443/v1", "gpu/v1")]
)
def test_id_from_url(url: str, id: str) -> None:
    """The id of a backend without one is what a person would call its address."""
    assert id_from_url(url) == id


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://gpu:8000", "http://gpu:8000"),
        ("HTTP://GPU:8000/", "http://gpu:8000"),
        ("http://gpu:8000/v1/", "http://gpu:8000"),
        ("http://gpu:8000//v1", "http://gpu:8000"),
        ("http://gpu:8000/api/v1", "http://gpu:8000/api"),
        ("http://gpu:8000/v1/v2", "http://gpu:8000/v1/v2"),
        ("http://localhost", "http://127.0.0.1"),
        ("http://LocalHost:8000/v1", "http://127.0.0.1:8000"),
        ("http://0.0.0.0:80/v1", "http://127.0.0.1"),
        ("https://localhost.lan", "https://localhost.lan"),
        ("http://x/localhost", "http://x/localhost"),
        ("http://10.0.0.0.0:1", "http://10.0.0.0.0:1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
    ],
)
def test_server_key(url: str, key: str) -> None:
    """Spellings of one server's address have one key, other servers have others, and a key has itself."""
    assert server_key(url) == key
    assert server_key(key) == key
