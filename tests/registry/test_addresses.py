"""Which addresses may be connected to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.addresses import LOCAL_NETWORKS, AddressRules, AddressSettings

NETWORKS = [*LOCAL_NETWORKS, "203.0.113.0/24", "2001:db8::/32", "169.254.0.0/16", "fe80::/10", "224.0.0.0/4"]
RULES = AddressRules.of(AddressSettings(NETWORKS, ["http://gpu.example:8000", "https://[2001:db9::1]"]))
DEFAULT = AddressRules.of(AddressSettings())


def may(address: str, host: str = "some.example", port: int = 80, rules: AddressRules = DEFAULT) -> bool:
    """Whether it may be connected to; a refusal has a reason that one can read."""
    reason = rules.check(address, host, port)
    assert reason is None or (reason.isprintable() and 10 < len(reason) < 300)
    return reason is None


@st.composite
def addresses(draw: st.DrawFn) -> IPv4Address | IPv6Address:
    """Any address, more often one near the edges of the networks that matter."""
    network = ip_network(draw(st.sampled_from([*NETWORKS, "0.0.0.0/31", "::/127", "255.255.255.255/32", "ff00::/8"])))
    edges = [network.network_address, network.broadcast_address]
    near = st.sampled_from([int(edge) + step for edge in edges for step in (-1, 0, 1)])
    number = draw(near | st.integers(0, 2**128 - 1))
    if isinstance(network, IPv6Network) or draw(st.integers(0, 3)) == 0:
        return IPv6Address(number % 2**128)
    return IPv4Address(number % 2**32)


def expected(address: IPv4Address | IPv6Address, networks: list[str]) -> bool:
    """The rule again, as plainly as it can be said."""
    if isinstance(address, IPv6Address) and address in IPv6Network("::ffff:0:0/96"):
        address = IPv4Address(int(address) & 0xFFFFFFFF)
    if address == IPv4Address("0.0.0.0"):
        address = IPv4Address("127.0.0.1")
    if address == IPv6Address("::"):
        address = IPv6Address("::1")
    if address in IPv4Network("169.254.0.0/16") or address in IPv6Network("fe80::/10"):
        return False
    return any(address in ip_network(network) for network in networks)


@given(addresses(), st.booleans())
def test_any_address_is_judged_by_the_networks(address: IPv4Address | IPv6Address, mapped: bool) -> None:
    """An address may be connected to if it is in a listed network and not link-local, however it is spelled."""
    if mapped and isinstance(address, IPv4Address):
        address = ip_address(f"::ffff:{address}")
    assert may(str(address), rules=RULES) is expected(address, NETWORKS)
    assert may(address.exploded) is expected(address, list(LOCAL_NETWORKS))


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::", "::1", "10.0.0.1", "172.31.255.255", "192.168.1.1", "fd12::1"],
)
def test_this_machine_and_private_networks_are_allowed(address: str) -> None:
    """Without any setting, loopback and private addresses may be connected to."""
    assert may(address)


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "172.32.0.1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "224.0.0.1", "255.255.255.255"),
        *("169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fe80::1%lo", "ff02::1", "64:ff9b::a9fe:a9fe"),
        *("", "some.example", "1.2.3", "0x7f000001", "127.0.0.1\n"),
    ],
)
def test_everything_else_is_refused(address: str) -> None:
    """Public, link-local and multicast addresses are refused, and what is no address at all."""
    assert not may(address)


def test_what_the_operator_named_may_be_anywhere() -> None:
    """A named host passes at its port, by whatever address it has; the same host at another port does not."""
    assert may("8.8.8.8", "gpu.example", 8000, RULES)
    assert may("8.8.8.8", "GPU.example", 8000, RULES)
    assert may("2001:db9::1", "2001:db9:0::1", 443, RULES)
    assert may("8.8.8.8", "8.8.8.8", 80, AddressRules.of(AddressSettings(exempt=["http://[::ffff:8.8.8.8]"])))
    assert not may("8.8.8.8", "gpu.example", 8001, RULES)
    assert not may("8.8.8.8", "other.example", 8000, RULES)


def test_named_host_does_not_lead_to_a_link_local_address() -> None:
    """A name that resolves to a link-local address is refused even if it was named; the address itself is not."""
    rules = AddressRules.of(AddressSettings(exempt=["http://gpu.example", "http://169.254.1.2"]))
    assert not may("169.254.169.254", "gpu.example", 80, rules)
    assert may("169.254.1.2", "169.254.1.2", 80, rules)
    assert not may("169.254.1.3", "169.254.1.3", 80, rules)


@pytest.mark.parametrize("address", ["fd00:ec2::254", "fd20:ce:0::254", "fd00:c1::a9fe:a9fe", "100.100.100.200"])
def test_where_clouds_give_out_credentials(address: str) -> None:
    """The metadata addresses that are not link-local are refused too, unless the operator has named that very one."""
    everywhere = AddressSettings(["0.0.0.0/0", "::/0"], exempt=["http://gpu.example"])
    assert not may(address)
    assert not may(address, "gpu.example", 80, AddressRules.of(everywhere))
    literal = f"[{address}]" if ":" in address else address
    assert may(address, address, 80, AddressRules.of(AddressSettings(exempt=[f"http://{literal}"])))


@pytest.mark.parametrize("settings", [AddressSettings(["nonsense"]), AddressSettings(exempt=["gpu.example"])])
def test_settings_that_make_no_sense(settings: AddressSettings) -> None:
    """A network or a URL that is none is told."""
    with pytest.raises(ValueError, match=r"nonsense|gpu\.example"):
        AddressRules.of(settings)
