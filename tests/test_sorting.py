import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import sorting
from pipelines.sorting import Follower, firsts, group_by_hash, sort_by_hash

KEYS = [("uid", "ascending"), ("edited", "descending")]
SCHEMA = pa.schema([("uid", pa.string()), ("edited", pa.int64()), ("place", pa.int64())])
HASHES = st.sampled_from([f"{number * 0x9E3779B1 % 2**32:08x}" for number in range(40)])
ROWS = st.lists(st.tuples(HASHES, st.none() | st.integers(0, 3)), max_size=200)


def tables(rows: list[tuple[str, int | None]], size: int = 7) -> list[pa.Table]:
    """Rows numbered as they come, in small tables."""
    numbered = [{"uid": uid, "edited": edited, "place": place} for place, (uid, edited) in enumerate(rows)]
    return [pa.Table.from_pylist(numbered[at : at + size], schema=SCHEMA) for at in range(0, len(rows), size)]


@given(ROWS, st.sampled_from([1, 200, 10**9]))
def test_rows_come_sorted_whole_groups_together_and_equal_ones_as_they_came(
    rows: list[tuple[str, int | None]], held: int
) -> None:
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "HELD_BYTES", held)
        found = list(sort_by_hash(iter(tables(rows)), KEYS, Path(scratch)))
        assert list(Path(scratch).iterdir()) == []

    def order(place: int) -> tuple[str, int, int]:
        uid, edited = rows[place]
        return uid, -1 - edited if edited is not None else 0, place

    assert [place for table in found for place in table.column("place").to_pylist()] == sorted(
        range(len(rows)), key=order
    )
    groups = [set(table.column("uid").to_pylist()) for table in found]
    assert sum(map(len, groups)) == len(set().union(*groups))


@given(ROWS, st.sampled_from([1, 200, 10**9]))
def test_groups_come_in_order_in_bounded_tables_however_large_a_group_is(
    rows: list[tuple[str, int | None]], held: int
) -> None:
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "HELD_BYTES", held)
        found = list(group_by_hash(iter(tables(rows)), "uid", Path(scratch)))
        assert list(Path(scratch).iterdir()) == []
    uids = [uid for table in found for uid in table.column("uid").to_pylist()]
    assert uids == sorted(uid for uid, _ in rows)
    assert sorted(place for table in found for place in table.column("place").to_pylist()) == list(range(len(rows)))
    assert all(table.nbytes <= held + max(each.nbytes for each in tables(rows)) for table in found)


@given(ROWS.filter(len))
def test_a_follower_gives_each_row_once_with_the_table_that_has_its_key(rows: list[tuple[str, int | None]]) -> None:
    ordered = pa.concat_tables(tables(rows)).sort_by([("uid", "ascending"), ("place", "ascending")])
    follower = Follower(iter([ordered.slice(at, 5) for at in range(0, len(ordered), 5)]), "uid", SCHEMA)
    uids = sorted({uid for uid, _ in rows})
    cuts = [uids[len(uids) // 2], uids[-1]]
    taken = [follower.through(last) for last in cuts]
    assert pa.concat_tables(taken).equals(ordered)
    assert pc.max(taken[0].column("uid")).as_py() == cuts[0]


def test_firsts_are_where_a_value_begins() -> None:
    assert firsts(pa.table({"uid": ["a", "a", "b", "c", "c"]}), "uid").tolist() == [0, 2, 3]
    assert firsts(pa.table({"uid": pa.array([], pa.string())}), "uid").tolist() == []
