"""Reads typed values out of a platform's JSON: absent is None, a wrong type is a ParseError that names the place."""

from datetime import UTC, datetime
from typing import Any

from crawlers.post import ParseError
from crawlers.text import well_formed

Record = dict[str, Any]


def record(value: object, place: str) -> Record:
    """An object; ParseError when it is something else."""
    if not isinstance(value, dict):
        raise ParseError(place, f"expected an object, found {_kind(value)}")
    return value


def optional_record(parent: Record, key: str, place: str = "") -> Record | None:
    """An object or nothing."""
    return None if parent.get(key) is None else record(parent[key], f"{place}{key}")


def records(parent: Record, key: str, place: str = "") -> list[Record] | None:
    """A list of objects or nothing."""
    value = parent.get(key)
    if value is None:
        return None
    if not isinstance(value, list):
        raise ParseError(f"{place}{key}", f"expected a list, found {_kind(value)}")
    return [record(item, f"{place}{key}[{index}]") for index, item in enumerate(value)]


def text(parent: Record, key: str, place: str = "") -> str | None:
    """A string or nothing."""
    value = parent.get(key)
    if value is None:
        return None
    if isinstance(value, str):
        return well_formed(value)
    raise ParseError(f"{place}{key}", f"expected a string, found {_kind(value)}")


def needed_text(parent: Record, key: str, place: str = "") -> str:
    """A string that is there and not empty."""
    value = text(parent, key, place)
    if not value:
        raise ParseError(f"{place}{key}", "missing or empty")
    return value


def profile_text(parent: Record, key: str) -> str | None:
    """A string of a profile, on one line; None for an empty one and for anything else, which is worth no reject."""
    value = parent.get(key)
    return " ".join(well_formed(value).split()) or None if isinstance(value, str) else None


def texts(parent: Record, key: str, place: str = "") -> list[str] | None:
    """A list of strings or nothing."""
    value = parent.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ParseError(f"{place}{key}", f"expected a list of strings, found {_kind(value)}")
    return [well_formed(item) for item in value]


def count(parent: Record, key: str, place: str = "") -> int | None:
    """A whole number that is not negative and fits into 64 bits, or nothing."""
    value = parent.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise ParseError(f"{place}{key}", f"expected a count, found {_kind(value)}")
    return value


def flag(parent: Record, key: str, place: str = "") -> bool | None:
    """A truth value or nothing."""
    value = parent.get(key)
    if value is None or isinstance(value, bool):
        return value
    raise ParseError(f"{place}{key}", f"expected true or false, found {_kind(value)}")


def time(parent: Record, key: str, place: str = "") -> datetime | None:
    """An ISO 8601 time or nothing."""
    value = text(parent, key, place)
    return None if value is None else parse_time(value, f"{place}{key}")


def needed_time(parent: Record, key: str, place: str = "") -> datetime:
    """An ISO 8601 time that is there."""
    return parse_time(needed_text(parent, key, place), f"{place}{key}")


def parse_time(value: str, place: str) -> datetime:
    """An aware UTC time; one without a zone is taken for UTC."""
    try:
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ParseError(place, "not a time") from None


def _kind(value: object) -> str:
    return {dict: "an object", list: "a list", str: "a string", type(None): "null"}.get(type(value), "another type")
