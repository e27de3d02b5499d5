"""When a month has lost too much usage."""

from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.pipeline.shrink_check import has_shrunk
from jobs.postgres.detection import MonthCount

JUNE = date(2026, 6, 1)


@pytest.mark.parametrize(
    ("counted", "stored", "rows", "users", "shrunk"),
    [
        (0, 0, 0, 0, False),
        (1, 0, 0, 0, True),
        (0, 1, 0, 0, True),  # a run that did not finish has stored the user
        (0, 1, 1, 1, False),
        (101, 1, 1, 1, False),
        (102, 1, 1, 1, True),
        (1, 102, 1, 1, True),
        (1000, 1, 800, 1, False),
        (1000, 1, 799, 1, True),
        (1, 1000, 1, 799, True),
    ],
)
def test_a_month_shrinks_by_its_last_row_or_a_fifth_and_more_than_a_hundred(
    counted: int, stored: int, rows: int, users: int, *, shrunk: bool
) -> None:
    scope: Any = SimpleNamespace(
        month_records=SimpleNamespace(rows={JUNE: counted}), settings=SimpleNamespace(max_shrink=0.2)
    )
    detected: Any = SimpleNamespace(months={JUNE: MonthCount(rows=rows, users=users, stored_users=stored)})
    assert has_shrunk(scope, detected, JUNE) is shrunk
