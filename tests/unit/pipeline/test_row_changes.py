"""The rows of a plan: each value that is written changes its hash."""

from typing import Any

import polars as pl
import pytest

from jobs.pipeline.row_changes import list_usage
from jobs.rollups.changes import sum_digests

UPDATE: dict[str, Any] = {
    "id": 1,
    "user_id": "ada",
    "recorded": 5,
    "deducted": 0,
    "new_total_cost": 7,
    "new_credits_deducted": 3,
}
SCHEMA: dict[str, Any] = dict.fromkeys(UPDATE, pl.Int128) | {"id": pl.UInt128, "user_id": pl.String}


def digest(**values: object) -> dict[str | None, int]:
    return sum_digests(list_usage(pl.DataFrame([UPDATE | values], schema=SCHEMA), []))


@pytest.mark.parametrize("column", ["id", "recorded", "deducted", "new_total_cost", "new_credits_deducted"])
def test_each_value_of_a_usage_row_is_in_the_plan(column: str) -> None:
    before, after = digest(), digest(**{column: 9})
    assert before.keys() == after.keys() == {"ada"}
    assert before != after
