"""Law 8, the brake: where so much usage has vanished, nothing is written before a person has looked.

A role that lost its row-level policy reads 0 rows without an error; a collector that failed half-way leaves half.
"""

from collections.abc import Iterator
from datetime import date

from jobs.model.errors import BrakeError
from jobs.plan import Plan
from jobs.reading import Reading

FEW = 100
"""So many rows or users may always vanish: a small table must not brake over one customer."""


def hold(plan: Plan, reading: Reading) -> None:
    """Raises BrakeError (exit 5) naming month, rows and users, before and now, for each month that shrank."""
    shrunk = [_words(plan, reading, month) for month in plan.window.months if any(reasons(plan, reading, month))]
    if shrunk:
        raise BrakeError(
            f"{'; '.join(shrunk)}. Nothing was written. Expected at most {plan.settings.max_shrink:.0%} to vanish "
            "(max_shrink): look whether the collector failed or this role lost its row-level policy (`usage-jobs "
            "check`); if the usage is really gone, run again with --allow-shrink"
        )


def reasons(plan: Plan, reading: Reading, month: date) -> Iterator[bool]:
    """Whether a month is empty now, lost too many rows, lost too many users."""
    rows, users = plan.booked.rows.get(month, 0), plan.booked.users.get(month, 0)
    yield reading.rows[month] == 0 and (rows > 0 or users > 0)
    for before, now in ((rows, reading.rows[month]), (users, reading.users[month])):
        yield before - now > FEW and before - now > before * plan.settings.max_shrink


def _words(plan: Plan, reading: Reading, month: date) -> str:
    rows, users = plan.booked.rows.get(month, 0), plan.booked.users.get(month, 0)
    return (
        f"{month:%Y-%m}: {reading.rows[month]:,} accepted rows where {rows:,} were booked, "
        f"{reading.users[month]:,} users where {users:,} were booked"
    )
