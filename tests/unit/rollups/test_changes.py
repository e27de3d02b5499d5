"""What a plan's hash tells apart."""

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rollups.changes import CHANGES, join_text, list_row_diff, sum_digests

texts = st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\x00\x1f"))


@given(st.lists(texts, min_size=2, max_size=2), st.lists(texts, min_size=2, max_size=2))
def test_values_that_differ_have_different_texts(one: list[str | None], two: list[str | None]) -> None:
    """A null is none of the values."""
    rows = pl.DataFrame([one, two], schema={"a": pl.String, "b": pl.String}, orient="row")
    found = rows.select(text=join_text(["a", "b"]))["text"]
    assert (found[0] == found[1]) == (one == two)


@pytest.mark.parametrize("column", ["table", "key", "old", "new"])
def test_a_hash_depends_on_each_part_of_a_change(column: str) -> None:
    change = dict.fromkeys(CHANGES, "x") | {"cluster": None}
    one, other, none = (
        sum_digests(pl.DataFrame([change | {column: value}], schema=CHANGES)) for value in ("x", "y", None)
    )
    assert len({one["x"], other["x"], none["x"]}) == 3


@pytest.mark.parametrize("cluster", [7, None])
def test_the_row_that_is_replaced_is_found_by_its_key_though_it_be_null(cluster: int | None) -> None:
    schema = {"date": pl.Date, "cluster_id": pl.UInt128, "users": pl.Int64}
    stored, target = (
        pl.DataFrame([(date(2026, 6, 1), cluster, users)], schema=schema, orient="row") for users in (4, 5)
    )
    key = ("date", "cluster_id")
    changed = list_row_diff("cluster_daily", target, target.clear().select(key), stored.lazy(), key)
    deleted = list_row_diff("cluster_daily", target.clear(), target.select(key), stored.lazy(), key)
    assert [*changed.select("old", "new").rows(), *deleted.select("old", "new").rows()] == [("4", "5"), ("4", None)]
