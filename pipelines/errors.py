"""Errors that a person caused or can mend, each one line, with the exit code that the command ends with."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    GAPS = 3
    WARNINGS = 4
    LEASE_HELD = 5


class Interrupted(BaseException):
    """Somebody asked the command to stop (`signal`); nothing that stands in its way may take it for a fault."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


class PostsweepError(Exception):
    """What is wrong, where, and what to do, in one line; the command prints it and ends with `exit_code`."""

    exit_code = Exit.FAILED


class ConfigError(PostsweepError):
    """The sweep file or an option is wrong. The message may have one line per mistake."""

    exit_code = Exit.USAGE


class ArchiveError(PostsweepError):
    """The archive does not hold what was asked for, or holds what should not be there."""


class SealedError(ArchiveError):
    """The sweep is sealed already: immutable."""


class LeaseHeldError(PostsweepError):
    """Another process holds the sweep's lease."""

    exit_code = Exit.LEASE_HELD


class KeyMismatchError(PostsweepError):
    """The pseudonym key at hand is not the one that the archive was written with."""

    exit_code = Exit.USAGE
