"""Times and counts as Chinese platforms write them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlers.platforms.chinese_time import BEIJING, read_time
from crawlers.platforms.counts import approximate

SHOWN = datetime(2026, 3, 14, 4, 30, 20, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(2009, 8, 14), datetime(2100, 1, 1), timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("told", "moment"),
    [
        ("刚刚", "2026-03-14 12:30:20"),
        ("30秒前", "2026-03-14 12:29:50"),
        ("5分钟前", "2026-03-14 12:25:20"),
        ("16小时前", "2026-03-13 20:30:20"),
        ("3天前", "2026-03-11 12:30:20"),
        ("今天 07:05", "2026-03-14 07:05:00"),
        ("昨天 12:00", "2026-03-13 12:00:00"),
        ("前天", "2026-03-12 00:00:00"),
        ("03-14", "2026-03-14 00:00:00"),
        ("04-25", "2025-04-25 00:00:00"),
        ("02-29", "2024-02-29 00:00:00"),
        ("2019-8-2", "2019-08-02 00:00:00"),
        ("2024年02月29日 23:59", "2024-02-29 23:59:00"),
        ("02月01日 08:15", "2026-02-01 08:15:00"),
        ("Mon Apr 25 00:51:42 +0800 2016", "2016-04-25 00:51:42"),
        ("Sun Apr 24 16:51:42 +0000 2016", "2016-04-25 00:51:42"),
        ("2016-04-24T16:51:42Z", "2016-04-25 00:51:42"),
    ],
)
def test_a_time_is_read_on_the_clock_of_beijing(told: str, moment: str) -> None:
    assert read_time(told, SHOWN) == datetime.fromisoformat(moment).replace(tzinfo=BEIJING)


@pytest.mark.parametrize("told", ["", "昨", "13-40", "2023-02-29", "昨天 25:00", "转发", "1785000000", "半年前"])
def test_what_is_no_time_is_none(told: str) -> None:
    assert read_time(told, SHOWN) is None


@given(MOMENTS, st.integers(0, 59), st.sampled_from([("秒", 1), ("分钟", 60), ("小时", 3600), ("天", 86400)]))
def test_a_span_counts_back_from_when_it_was_shown(shown: datetime, number: int, unit: tuple[str, int]) -> None:
    assert read_time(f"{number}{unit[0]}前", shown) == shown - timedelta(seconds=number * unit[1])


@given(MOMENTS, st.integers(0, 364 * 86400))
def test_a_date_without_a_year_is_the_latest_that_is_not_after_it_was_shown(shown: datetime, before: int) -> None:
    written = (shown - timedelta(seconds=before)).astimezone(BEIJING).replace(second=0, microsecond=0)
    assert read_time(f"{written:%m-%d %H:%M}", shown) == written


@given(MOMENTS, MOMENTS)
def test_a_whole_time_does_not_depend_on_when_it_was_shown(moment: datetime, shown: datetime) -> None:
    exact = moment.replace(microsecond=0)
    assert read_time(f"{exact.astimezone(BEIJING):%a %b %d %H:%M:%S %z %Y}", shown) == exact
    assert read_time(exact.isoformat(), shown) == exact


@given(st.text(max_size=30) | st.text("0123456789-:年月日天前昨 +", max_size=20), MOMENTS)
def test_any_text_is_a_moment_in_utc_or_none(told: str, shown: datetime) -> None:
    found = read_time(told, shown)
    assert found is None or found.tzinfo is UTC


@pytest.mark.parametrize(
    ("told", "number"),
    [
        ("0", 0),
        ("1,234", 1234),
        ("12,345,678", 12_345_678),
        ("1.2K", 1200),
        ("3.4m", 3_400_000),
        ("100万+", 1_000_000),
        ("1.5万", 15_000),
        ("2.3亿", 230_000_000),
        (" 87 ", 87),
        ("赞", None),
        ("", None),
        ("-3", None),
        ("1,2", None),
        ("1.2.3万", None),
        ("9" * 30, None),
        ("9223372036854775808", None),
    ],
)
def test_a_shortened_count_is_the_number_that_it_stands_for(told: str, number: int | None) -> None:
    assert approximate(told) == number


@given(st.integers(0, 10**15))
def test_a_count_that_is_written_whole_is_exact(number: int) -> None:
    assert approximate(str(number)) == approximate(f"{number:,}") == number
