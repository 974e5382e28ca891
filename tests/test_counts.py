import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlers.platforms.counts import approximate


@pytest.mark.parametrize(
    ("shown", "number"),
    [
        ("0", 0),
        ("7", 7),
        ("1.2K", 1_200),
        ("436.6K", 436_600),
        ("4.35k", 4_350),
        ("2M", 2_000_000),
        ("1.05B", 1_050_000_000),
        ("1.5万", 15_000),
        ("100万+", 1_000_000),
        ("3.2億", 320_000_000),
        ("2亿", 200_000_000),
        ("1,234", 1_234),
        ("12 345", 12_345),
        ("12\u202f345\u00a0678", 12_345_678),
        (" 1.2 K ", 1_200),
    ],
)
def test_a_count_as_people_are_shown_it_becomes_the_number_that_it_names(shown: str, number: int) -> None:
    assert approximate(shown) == number


@pytest.mark.parametrize(
    "shown", ["", "K", "-3", "1.2.3", "many", "1e5", "1,2", "12 34", "99999999999999999999", "9999999999999B", "转发"]
)
def test_what_is_no_count_is_none(shown: str) -> None:
    assert approximate(shown) is None


@given(st.text(alphabet="0123456789,.+ kKmMbB千万萬亿億٣²", max_size=30))
def test_whatever_is_shown_a_count_fits_into_64_bits(shown: str) -> None:
    assert 0 <= (approximate(shown) or 0) < 1 << 63
