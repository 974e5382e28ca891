"""Polite and safe defaults: how a crawl behaves towards the hosts that it reads."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from crawlers.safety import ALLOWED_HOSTS

MAX_BODY = 16 * 1024 * 1024
MOST_RECORDS = 20_000
"""Records of a page: platforms give 40 or 100, feeds some thousands; a body of the size allowed could hold millions."""


@dataclass(frozen=True)
class CrawlSettings:
    """How to crawl. `contact` (an address or URL of the operator) stands in the user agent.

    `delay_seconds` lies between the beginnings of two requests to a host. `max_wait_seconds` is the longest single wait
    that a server may ask for, `max_total_wait_seconds` the longest sum of all waits for a source (a server that asks
    for almost the longest one again and again would hold a crawl for ever); beyond either, the source is a gap.
    `max_body_bytes` is the size of a body, before and after decompression. `margin` is how far a page must lie before
    the window to end a source.
    """

    contact: str
    version: str
    delay_seconds: float = 1.0
    timeout_seconds: float = 60.0
    retries: int = 6
    max_wait_seconds: float = 900.0
    max_total_wait_seconds: float = 6 * 3600.0
    max_body_bytes: int = MAX_BODY
    margin: timedelta = timedelta(hours=24)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)

    @property
    def user_agent(self) -> str:
        """Says honestly who asks."""
        return f"postsweep/{self.version} (+{self.contact})"

    def scrapy(self, allowed_hosts: list[str]) -> dict[str, Any]:
        """The settings that Scrapy runs with."""
        return {
            "USER_AGENT": self.user_agent,
            "ROBOTSTXT_OBEY": False,  # `fetching.py` does, for pages that are made for people
            "COOKIES_ENABLED": False,
            "HTTPPROXY_ENABLED": False,
            "TELNETCONSOLE_ENABLED": False,
            "RETRY_ENABLED": False,  # `fetching.py` does, as Scrapy's knows no Retry-After
            "REDIRECT_ENABLED": False,  # `fetching.py` does, so that a source never leaves its host
            "METAREFRESH_ENABLED": False,
            "DOWNLOAD_DELAY": self.delay_seconds,
            "RANDOMIZE_DOWNLOAD_DELAY": False,  # Scrapy would halve the delay now and then
            "CONCURRENT_REQUESTS_PER_DOMAIN": 1,
            "CONCURRENT_REQUESTS": 32,
            "DOWNLOAD_TIMEOUT": self.timeout_seconds,
            "DOWNLOAD_MAXSIZE": self.max_body_bytes,
            "DOWNLOAD_WARNSIZE": 0,
            "DOWNLOAD_VERIFY_CERTIFICATES": True,
            "DNS_RESOLVER": "crawlers.safety.PublicResolver",
            "TWISTED_DNS_RESOLVER": "crawlers.safety.PublicResolver",
            "LOG_ENABLED": False,  # request lines would carry handles
            "LOG_INSTALL_ROOT_HANDLER": False,
            ALLOWED_HOSTS: allowed_hosts,
        }
