import ast
import json
from importlib import import_module
from inspect import getsource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawlers.catalogue import LIVE, PLATFORMS
from crawlers.catalogue.about import FIELDS
from crawlers.platforms.feed import NotAFeedError
from crawlers.post import ParseError, Post
from crawlers.run import spider_of
from crawlers.sighting import STATES
from pipelines.platforms_page import page
from tests.hostile import LONG, altered, hurt
from tests.parser_fixtures import Case, cases, posts_in
from tests.test_crawlers_text import as_rows

CASES = cases()
PARSERS = sorted({case.parser for case in CASES})
REFUSALS = (ParseError, NotAFeedError)


def of_parser(parser: str) -> list[Case]:
    return [case for case in CASES if case.parser == parser]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_parser_makes_of_a_fixture_what_is_written_beside_it(case: Case) -> None:
    assert json.loads(case.found()) == json.loads(case.expected.read_text(encoding="utf-8"))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_fields_that_a_platform_is_said_to_fill_are_those_that_its_fixtures_fill(platform: str) -> None:
    posts = [post for case in cases(platform) for post in _posts(case)]
    filled = {name for name in FIELDS for post in posts if getattr(post, name) is not None}
    assert filled == PLATFORMS[platform].fills


def _posts(case: Case) -> list[Post]:
    try:
        return list(posts_in(case.parse(case.payload())))
    except ParseError:
        return []


@pytest.mark.parametrize("platform", LIVE)
def test_each_platform_that_can_be_read_has_a_spider(platform: str) -> None:
    assert callable(spider_of(platform))


def test_the_page_of_platforms_is_made_from_the_catalogue() -> None:
    assert (Path(__file__).parent.parent / "docs" / "platforms.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("platform", LIVE)
def test_the_catalogue_names_each_finding_that_a_platform_s_checker_can_tell(platform: str) -> None:
    checker = import_module(f"crawlers.rechecks.{platform}")
    told = {node.value for node in ast.walk(ast.parse(getsource(checker))) if isinstance(node, ast.Constant)}
    assert told & set(STATES) - {"alive", "edited"} <= set(PLATFORMS[platform].removals)


@pytest.mark.parametrize("parser", PARSERS)
@settings(max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_done_to_a_payload_it_becomes_posts_or_a_reject(parser: str, data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(of_parser(parser)))
    try:
        outcome = case.parse(altered(case.payload(), data.draw))
    except REFUSALS:
        return
    for post in posts_in(outcome):
        as_rows(post)


@pytest.mark.slow
@pytest.mark.parametrize("parser", PARSERS)
def test_a_payload_with_ten_million_characters_or_endless_nesting_in_any_place_is_posts_or_a_reject(
    parser: str,
) -> None:
    for case in of_parser(parser)[:1]:
        for payload in hurt(case.payload()):
            try:
                outcome = case.parse(payload)
            except REFUSALS:
                continue
            for post in posts_in(outcome):
                assert len(post.text or "") <= 2 * LONG
