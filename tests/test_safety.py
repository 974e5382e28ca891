"""Which addresses a spider may connect to."""

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address

from crawlers.safety import PublicResolver, is_public, literal_is_private

NAMES = {
    "six.example": ["2606:4700::1111"],
    "both.example": ["2606:4700::1111", "1.1.1.1"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "mixed.example": ["1.1.1.1", "fd00::1"],
    "local.example": ["::1"],
    "none.example": [],
}


class Resolving:
    """A resolver that knows `NAMES`, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def resolveHostName(self, receiver: Any, name: str, port: int = 0, *_: Any) -> None:  # noqa: N802 - Twisted's name
        self.asked.append(name)
        receiver.resolutionBegan(self)
        for address in NAMES[name]:
            receiver.addressResolved((IPv6Address if ":" in address else IPv4Address)("TCP", address, port))
        receiver.resolutionComplete()


class Receiver:
    """Keeps what a connection would go to."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.complete = False

    def resolutionBegan(self, _: Any) -> None:  # noqa: N802 - Twisted's name
        pass

    def addressResolved(self, address: Any) -> None:  # noqa: N802 - Twisted's name
        self.found.append(address.host)

    def resolutionComplete(self) -> None:  # noqa: N802 - Twisted's name
        self.complete = True


def resolver(*allowed: str) -> tuple[PublicResolver, Resolving]:
    names = Resolving()
    made = PublicResolver(SimpleNamespace(nameResolver=names), cache_size=100)
    made.allowed = frozenset(allowed)
    return made, names


def resolved(name: str, *allowed: str) -> list[str]:
    receiver = Receiver()
    resolver(*allowed)[0].resolveHostName(receiver, name, 443)
    assert receiver.complete
    return receiver.found


def test_a_name_with_ipv6_addresses_alone_is_found() -> None:
    assert resolved("six.example") == ["2606:4700::1111"]
    assert resolved("both.example") == ["2606:4700::1111", "1.1.1.1"]
    assert resolved("none.example") == []


@pytest.mark.parametrize("name", ["mapped.example", "mixed.example", "local.example"])
def test_a_name_that_leads_to_one_private_address_is_not_found_unless_it_is_allowed(name: str) -> None:
    assert resolved(name) == []
    assert name in PublicResolver.refused
    assert resolved(name, name) == NAMES[name]


def test_an_answer_from_the_cache_is_checked_too() -> None:
    made, names = resolver("local.example")
    first, second = Receiver(), Receiver()
    made.resolveHostName(first, "local.example", 443)
    made.allowed = frozenset()
    made.resolveHostName(second, "local.example", 443)
    assert (first.found, second.found) == (["::1"], [])
    assert len(names.asked) <= 1


@pytest.mark.parametrize(
    "address",
    [
        *("::1", "::", "fe80::1%eth0", "fd00::1", "fec0::1", "ff02::1", "2001:db8::1", "100::1"),
        *("::ffff:127.0.0.1", "::ffff:192.168.0.1", "::7f00:1", "2002:7f00:1::", "64:ff9b::a00:1", "64:ff9b:1::1"),
        *("0.0.0.0", "100.64.0.1", "224.0.0.1", "192.0.2.1", "255.255.255.255", "no address"),
    ],
)
def test_addresses_that_lead_inside_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


def test_a_literal_with_a_zone_is_private_and_a_name_is_no_literal() -> None:
    assert literal_is_private("http://[fe80::1%25eth0]/")
    assert not literal_is_private("http://hearth.example/")
