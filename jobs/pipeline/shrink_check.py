"""Shrink check (invariant 8): if much usage has vanished, nothing is written until a person allows it.

A role that lost its row-level policy reads 0 rows without an error. A collector that failed leaves a part of the rows.
"""

from collections.abc import Collection, Iterator
from datetime import date

from jobs.domain.check_tokens import Shrink, percent
from jobs.domain.errors import ShrinkError
from jobs.postgres.detection import Detected, MonthCount
from jobs.postgres.run_scope import RunScope

FEW = 100
"""This many rows or users may always vanish, so that one leaving customer does not stop a small installation."""


def check_shrink(scope: RunScope, detected: Detected, allowed: Collection[Shrink] = ()) -> None:
    """Raises ShrinkError (exit 5) if a month has shrunk by more than is ``allowed``.

    The error names rows and users of each such month, before and now.
    """
    shrunk = [
        now
        for now in (_count(detected, month) for month in scope.window.months if has_shrunk(scope, detected, month))
        if not any(each.allows(now) for each in allowed)
    ]
    if shrunk:
        found = "; ".join(_describe(scope, detected, now.month) for now in shrunk)
        options = " ".join(f"--allow-shrink {now.token}" for now in shrunk)
        raise ShrinkError(
            f"{found}. Nothing was written. Expected at most {percent(scope.settings.max_shrink)} to vanish "
            "(max_shrink): look whether the collector failed or this role lost its row-level policy (`usage-jobs "
            f"check`); if the usage is really gone, run again with {options}"
        )


def _count(detected: Detected, month: date) -> Shrink:
    now = detected.months.get(month, MonthCount())
    return Shrink(month, now.rows, now.users)


def has_shrunk(scope: RunScope, detected: Detected, month: date) -> bool:
    """Whether a month has become empty, lost too many rows, or lost too many users."""
    return any(_judge(scope, detected.months.get(month, MonthCount()), month))


def _judge(scope: RunScope, now: MonthCount, month: date) -> Iterator[bool]:
    rows = scope.month_records.rows.get(month, 0)
    yield now.rows == 0 and (rows > 0 or now.stored_users > 0)
    for before, after in ((rows, now.rows), (now.stored_users, now.users)):
        yield before - after > FEW and before - after > before * scope.settings.max_shrink


def _describe(scope: RunScope, detected: Detected, month: date) -> str:
    now = detected.months.get(month, MonthCount())
    return (
        f"{month:%Y-%m}: {now.rows:,} rows where {scope.month_records.rows.get(month, 0):,} were counted, "
        f"{now.users:,} users where {now.stored_users:,} were"
    )
