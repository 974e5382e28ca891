"""Addresses that a spider may connect to: public ones, and private ones of hosts that the sweep file allows.

The check sits in the resolver, whose answer is what is connected to: a name cannot change between check and use.
"""

import ipaddress
from typing import Any, ClassVar
from urllib.parse import urlsplit

from scrapy.resolver import CachingThreadedResolver
from twisted.internet.defer import Deferred
from twisted.internet.error import DNSLookupError

ALLOWED_HOSTS = "POSTSWEEP_ALLOWED_HOSTS"
"""The Scrapy setting that lists hosts which may have private addresses."""

PRIVATE = "private address not allowed"


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's: not loopback, link-local, private, shared or reserved."""
    try:
        found = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is not None:
            return inner.is_global
    return found.is_global and not found.is_multicast


def literal_is_private(url: str) -> bool:
    """Whether a URL's host is written as an IP address that is not public; such a host is never resolved."""
    host = urlsplit(url).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return not is_public(host)


class PublicResolver(CachingThreadedResolver):  # type: ignore[misc,unused-ignore]
    """Resolves names as Scrapy does, but fails for a name that leads to an address that is not public."""

    allowed: frozenset[str] = frozenset()
    refused: ClassVar[set[str]] = set()
    """Names that led to such an address; Twisted tells whoever asked only that nothing was found."""

    @classmethod
    def from_crawler(cls, crawler: Any, reactor: Any) -> Any:
        """Takes the allowed hosts from the settings."""
        made = super().from_crawler(crawler, reactor)
        made.allowed = frozenset(crawler.settings.getlist(ALLOWED_HOSTS))
        return made

    def getHostByName(self, name: str, timeout: Any = ()) -> "Deferred[str]":  # noqa: N802 - Twisted's name
        """See `twisted.internet.interfaces.IResolverSimple`."""
        found = super().getHostByName(name, timeout)
        if name not in self.allowed:
            found.addCallback(self._public_only, name)
        return found

    def _public_only(self, address: str, name: str) -> str:
        if not is_public(address):
            self.refused.add(name)
            raise DNSLookupError(PRIVATE)
        return address
