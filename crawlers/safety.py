"""Addresses that a spider may connect to: public ones, and private ones of hosts that the sweep file allows.

The check sits in the resolver, whose answer is what is connected to: a name cannot change between check and use.
"""

import ipaddress
from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from scrapy.resolver import CachingHostnameResolver
from twisted.internet.interfaces import IResolutionReceiver
from zope.interface import implementer  # type: ignore[import-untyped]

ALLOWED_HOSTS = "POSTSWEEP_ALLOWED_HOSTS"
"""The Scrapy setting that lists hosts which may have private addresses."""

PRIVATE = "private address not allowed"

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's: not loopback, link-local, private, shared or reserved.

    An IPv6 address that stands for one of IPv4 (mapped, NAT64, 6to4, Teredo) is as public as that one.
    """
    try:
        found = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if found not in _GLOBAL_UNICAST:
            return False
    return found.is_global and not found.is_multicast


def literal_is_private(url: str) -> bool:
    """Whether a URL's host is written as an IP address that is not public."""
    host = urlsplit(url).hostname or ""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return not is_public(host)


class PublicResolver(CachingHostnameResolver):  # type: ignore[misc,unused-ignore]
    """Resolves names to IPv4 and IPv6 as Scrapy does, but finds nothing for a name that leads, with any of its
    addresses, to one that is not public. A lookup that does not end is cut by the download's own timeout."""

    allowed: frozenset[str] = frozenset()
    refused: ClassVar[set[str]] = set()
    """Names that led to such an address; Twisted tells whoever asked only that nothing was found."""

    @classmethod
    def from_crawler(cls, crawler: Any, reactor: Any) -> Any:
        """Takes the allowed hosts from the settings."""
        made = super().from_crawler(crawler, reactor)
        made.allowed = frozenset(crawler.settings.getlist(ALLOWED_HOSTS))
        return made

    def resolveHostName(  # noqa: N802 - Twisted's name
        self,
        resolutionReceiver: Any,  # noqa: N803 - Twisted's name
        hostName: str,  # noqa: N803 - Twisted's name
        portNumber: int = 0,  # noqa: N803 - Twisted's name
        addressTypes: Sequence[Any] | None = None,  # noqa: N803 - Twisted's name
        transportSemantics: str = "TCP",  # noqa: N803 - Twisted's name
    ) -> Any:
        """See `twisted.internet.interfaces.IHostnameResolver`."""
        name = hostName.lower()
        allowed = name in self.allowed
        receiver: Any = resolutionReceiver if allowed else _PublicOnly(resolutionReceiver, name, self.refused)
        return super().resolveHostName(receiver, hostName, portNumber, addressTypes, transportSemantics)


@implementer(IResolutionReceiver)
class _PublicOnly:
    """Passes a name's addresses on once all are known to be public, else none. Also sees answers from the cache."""

    def __init__(self, receiver: Any, name: str, refused: set[str]) -> None:
        self._receiver = receiver
        self._name = name
        self._refused = refused
        self._addresses: list[Any] = []

    def resolutionBegan(self, resolution: Any) -> None:  # noqa: N802 - Twisted's name
        self._receiver.resolutionBegan(resolution)

    def addressResolved(self, address: Any) -> None:  # noqa: N802 - Twisted's name
        self._addresses.append(address)

    def resolutionComplete(self) -> None:  # noqa: N802 - Twisted's name
        if all(is_public(address.host) for address in self._addresses):
            for address in self._addresses:
                self._receiver.addressResolved(address)
        else:
            self._refused.add(self._name)
        self._receiver.resolutionComplete()
