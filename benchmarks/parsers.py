"""Posts a second of each parser, on its fixtures: `python -m benchmarks.parsers`.

The peer is orjson, decoding the same bytes (a page of HTML: lxml, parsing it), in the same run.
"""

import time
from collections.abc import Callable
from typing import Any

import lxml.html
import orjson

from crawlers.post import ParseError
from tests.parser_fixtures import Case, cases, posts_in

SECONDS = 0.3


def rate(act: Callable[[], Any]) -> float:
    """Calls a second, over some tenths of a second."""
    count, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < SECONDS:
        act()
        count += 1
    return count / took


def measured(case: Case) -> tuple[float, float]:
    """Posts a second of the parser, and of its peer that only decodes."""
    payload, data = case.payload(), case.input.read_bytes()
    count = len(list(posts_in(case.parse(payload))))
    decode = orjson.loads if case.input.suffix == ".json" else lxml.html.fromstring
    return count * rate(lambda: case.parse(payload)), count * rate(lambda: decode(data))


def main() -> None:
    """Prints a line per parser: its slowest fixture counts."""
    slowest: dict[str, tuple[float, float, str]] = {}
    for case in cases():
        try:
            posts, peer = measured(case)
        except (ParseError, ValueError):
            continue
        if posts and (case.parser not in slowest or posts < slowest[case.parser][0]):
            slowest[case.parser] = (posts, peer, case.name)
    print(f"{'parser':<48} {'posts/s':>9} {'ms a post':>9} {'of peer':>8}  slowest fixture")
    for parser, (posts, peer, name) in sorted(slowest.items()):
        told = parser.removeprefix("crawlers.")
        print(f"{told:<48} {posts:>9,.0f} {1000 / posts:>9.3f} {posts / peer:>8.3f}  {name}")


if __name__ == "__main__":
    main()
