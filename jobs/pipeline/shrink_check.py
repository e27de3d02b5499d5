"""Invariant 8: where much usage has vanished, nothing is written before a person has looked.

A role that lost its row-level policy reads 0 rows without an error; a collector that failed half-way leaves half.
"""

from collections.abc import Iterator
from datetime import date

from jobs.model.errors import BrakeError
from jobs.postgres.detection import Detected, MonthCount
from jobs.postgres.run_scope import RunScope

FEW = 100
"""So many rows or users may always vanish: a small table must not be stopped by one customer who leaves."""


def check_shrink(scope: RunScope, detected: Detected) -> None:
    """Raises BrakeError (exit 5) naming month, rows and users, before and now, for each month that shrank."""
    shrunk = [_words(scope, detected, month) for month in scope.window.months if has_shrunk(scope, detected, month)]
    if shrunk:
        raise BrakeError(
            f"{'; '.join(shrunk)}. Nothing was written. Expected at most {scope.settings.max_shrink:.0%} to vanish "
            "(max_shrink): look whether the collector failed or this role lost its row-level policy (`usage-jobs "
            "check`); if the usage is really gone, run again with --allow-shrink"
        )


def has_shrunk(scope: RunScope, detected: Detected, month: date) -> bool:
    """Whether a month is empty now, lost too many rows, or lost too many users."""
    return any(_reasons(scope, detected.months.get(month, MonthCount()), month))


def _reasons(scope: RunScope, now: MonthCount, month: date) -> Iterator[bool]:
    rows = scope.months.rows.get(month, 0)
    yield now.rows == 0 and (rows > 0 or now.stored > 0)
    for before, after in ((rows, now.rows), (now.stored, now.users)):
        yield before - after > FEW and before - after > before * scope.settings.max_shrink


def _words(scope: RunScope, detected: Detected, month: date) -> str:
    now = detected.months.get(month, MonthCount())
    return (
        f"{month:%Y-%m}: {now.rows:,} rows where {scope.months.rows.get(month, 0):,} were counted, "
        f"{now.users:,} users where {now.stored:,} were"
    )
