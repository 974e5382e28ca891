"""Talks with one host over a WebSocket, under the rules of `fetching.py`: public addresses only, honest about who asks,
no proxy, no other host, certificates verified, messages capped before and after decompression.

A connection that is lost is a `LostError`: the spider connects again and goes on where it was. Waits between two
tries grow, and end in a SourceGapError unless the spider says that it gets on.
"""

import asyncio
import json
import logging
import random
import socket
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from crawlers.fetching import UNTRUSTED, Fetcher, SourceGapError
from crawlers.safety import PRIVATE, is_public

MOST_BYTES = 1 << 20
"""Bytes of a message, unpacked."""
_PRIVATE = f"{PRIVATE}; set allow_private on the source if it is meant"
_LONGEST_BACKOFF = 60.0
_GATES = frozenset({401, 403, 407, 451})
_TRANSIENT = frozenset({408, 425, 429})


class LostError(Exception):
    """The connection is lost, or could not be used; the message says how, in a few words of ours."""


class Socket:
    """One connection at a time to the host of a fetcher's source."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._connection: ClientConnection | None = None
        self._tries = 0

    @property
    def connected(self) -> bool:
        """Whether there is a connection; it may be lost without anybody having noticed."""
        return self._connection is not None

    def progressed(self) -> None:
        """Says that the conversation got on: the next loss is the first again."""
        self._tries = 0

    async def connect(self, path: str = "") -> None:
        """Connects to a path of the source's base address, with growing waits between tries. Errors: SourceGapError."""
        while True:
            await self.close()
            await self._fetcher.turn()
            self._fetcher.traffic.requests += 1
            try:
                self._connection = await self._within(self._open(self._fetcher.source.url + path))
            except LostError as lost:
                self.lost(lost)
            else:
                return

    def lost(self, lost: LostError) -> None:
        """Takes a loss: the next try waits. Errors: SourceGapError when there were as many as allowed."""
        settings = self._fetcher.settings
        if self._tries >= settings.retries:
            raise SourceGapError(f"{lost}, still after {settings.retries} retries") from None
        self._fetcher.traffic.retries += 1
        self._fetcher.host.hold(min(_LONGEST_BACKOFF, 2.0**self._tries) * random.uniform(0.5, 1))
        self._tries += 1

    async def send(self, message: object) -> None:
        """Sends JSON. Errors: LostError."""
        try:
            await self._within(self._open_one().send(json.dumps(message, ensure_ascii=False)))
        except ConnectionClosed:
            raise LostError("the connection was closed") from None

    async def receive(self, seconds: float) -> Any:
        """The next message, decoded from JSON; `None` when none came within the seconds, an
        empty string for one that is no JSON.

        Errors: LostError; SourceGapError for a message larger than allowed, and when the crawl is stopped meanwhile.
        """
        try:
            message = await self._within(self._open_one().recv(), seconds)
        except TimeoutError:
            return None
        except ConnectionClosed as closed:
            if closed.sent is not None and closed.sent.code == 1009:
                raise SourceGapError(f"a message is larger than the {MOST_BYTES:,} bytes that one may have") from None
            raise LostError("the connection was closed") from None
        self._fetcher.traffic.bytes += len(message)
        try:
            return json.loads(message)
        except (ValueError, RecursionError):
            return ""

    async def close(self) -> None:
        """Ends the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                await asyncio.wait_for(connection.close(), 1)

    def _open_one(self) -> ClientConnection:
        if self._connection is None:
            raise LostError("there is no connection")
        return self._connection

    async def _open(self, url: str) -> ClientConnection:
        source, settings = self._fetcher.source, self._fetcher.settings
        try:
            # The address that was checked is the one that is connected to: a name cannot change in between. Headers of
            # a handshake stay out of all logs.
            silent = logging.Logger("websockets", logging.CRITICAL)
            found = await connect(
                url,
                host=await self._address(url),
                port=urlsplit(url).port or (443 if url.startswith("wss:") else 80),
                proxy=None,
                user_agent_header=settings.user_agent,
                open_timeout=settings.timeout_seconds,
                close_timeout=1,
                max_size=min(MOST_BYTES, settings.max_body_bytes),
                logger=silent,
                # The library tries again by itself only where it is iterated over; here every error comes back.
            )
        except InvalidStatus as refused:
            status = refused.response.status_code
            headers = {name.lower(): value for name, value in refused.response.headers.raw_items()}
            self._fetcher.heed(status, headers)
            if status in _GATES:
                raise SourceGapError(f"the server refuses visitors (HTTP {status})") from None
            if status < 500 and status not in _TRANSIENT:
                raise SourceGapError(f"HTTP {status}: no WebSocket at this address") from None
            raise LostError(f"HTTP {status}") from None
        except TimeoutError:
            raise LostError(f"no answer within {settings.timeout_seconds:g} s") from None
        except InvalidHandshake:
            raise SourceGapError("no WebSocket at this address") from None
        except ssl.SSLCertVerificationError:  # a ValueError and an OSError too
            raise SourceGapError(UNTRUSTED) from None
        except ValueError:
            raise SourceGapError("the server redirects to another host, or to what is no address") from None
        except (OSError, EOFError) as error:
            raise LostError(f"the connection failed ({type(error).__name__})") from None
        peer = found.remote_address
        if not source.allow_private and not is_public(str(peer[0] if peer else "")):
            await found.close()
            raise SourceGapError(_PRIVATE)
        return found

    async def _address(self, url: str) -> str:
        """An address of the host; all of them are public, or none is taken. Errors: LostError, SourceGapError."""
        name = urlsplit(url).hostname or ""
        try:
            told = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise LostError("the host's name cannot be resolved") from None
        found = [str(each[4][0]) for each in told]
        if not self._fetcher.source.allow_private and not all(map(is_public, found)):
            raise SourceGapError(_PRIVATE)
        if not found:
            raise LostError("the host's name cannot be resolved")
        return found[self._tries % len(found)]

    async def _within(self, doing: Awaitable[Any], seconds: float | None = None) -> Any:
        """What comes of something, no longer than the crawl goes on. Errors: TimeoutError, SourceGapError."""
        limit = self._fetcher.settings.timeout_seconds * 2 if seconds is None else seconds
        work, rest = asyncio.ensure_future(doing), asyncio.ensure_future(self._fetcher.sleep(limit))
        try:
            await asyncio.wait({work, rest}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            rest.result()  # raises when the crawl was stopped
            raise TimeoutError
        finally:
            for each in (work, rest):
                if not each.done():
                    each.cancel()
            await asyncio.gather(work, rest, return_exceptions=True)
