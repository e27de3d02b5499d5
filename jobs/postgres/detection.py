"""Detects, on the server, the users whose inputs have changed since their months were computed.

One statement compares each user's months with user_monthly: the fingerprint of his rows, the hashes of prices, price
overrides, billing modes, account, credit settings and open debts, and the currency. Months that are not comparable
count as changed. It returns only ids and counts. An unchanged user is not recomputed: his usage rows are not read.

To find why a user is not recomputed (skipped): the conditions are the queries `differs` and `work_list` of
``sql/detection.sql``; what the hashes include is in ``fingerprints`` and ``run_scope``; a batch stores them with its
user-months (``pipeline.rollup_targets``). Users whom a batch sets aside stand in ``rollup.set_aside``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from psycopg import sql

from jobs.domain.billing_periods import month_spans
from jobs.domain.work_list import BatchLimits, WorkList
from jobs.postgres import billing_mode_history, debts, fingerprints
from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope
from jobs.postgres.sql_loader import bind_columns, compose, in_spans, text_array

STREAMED = 1000
"""Rows of the work list that are fetched at a time."""
MEMORY = "SET LOCAL work_mem = '128MB'"
"""For grouping 100,000 users: with the default of 4 MB it takes twice as long. Valid until the transaction ends."""


@dataclass(frozen=True, slots=True)
class MonthCount:
    """Usage rows and users of a month now, and the number of users in user_monthly (``stored_users``)."""

    rows: int = 0
    users: int = 0
    stored_users: int = 0


@dataclass(frozen=True, slots=True)
class Detected:
    """The result of detection.

    - ``months``: counts by month
    - ``work``: the work list, sorted by user
    - ``changed``: users of the work list whose covered days differ, or may differ
    - ``only_new_days``: users of the work list who only have new days
    - ``ownerless``: number of rows without a user or a day
    """

    months: Mapping[date, MonthCount]
    work: WorkList
    changed: WorkList
    only_new_days: WorkList
    ownerless: int

    @property
    def rows(self) -> int:
        return sum(month.rows for month in self.months.values())


class ChangedInput(NamedTuple):
    """A user-month, and which of its inputs have changed: usage, prices, price overrides."""

    user: str
    month: date
    usage: bool
    price: bool
    override: bool


def detect(
    connection: Connection,
    scope: RunScope,
    months: Sequence[date],
    *,
    full: bool = False,
    is_before_close: bool = False,
    limits: BatchLimits | None = None,
) -> Detected:
    """Compares the inputs of all users in ``months`` with user_monthly.

    - ``full``: put all users on the work list
    - ``is_before_close``: detection runs again, before a month closes: this run has recomputed the months that were not
      comparable, and users with debts to settle
    - ``limits``: the size of a batch, where it is not that of the settings
    """
    connection.execute(MEMORY)
    counts_new_days = scope.new_days is not None and not is_before_close
    text = _work_list_query(scope, months, is_before_close=is_before_close, counts_new_days=counts_new_days)
    values = _comparison_values(scope, months) | {
        "credit_terms": scope.credit_terms,
        "counts_new_days": counts_new_days,
        "rated": sorted(scope.cost_rules.rated),
        "writes_credits": scope.credits.has_accounts,
        "all_users": full,
    }
    if is_before_close:
        values["forced"] = [False] * len(months)
    by_month, ownerless = dict[date, MonthCount](), 0
    limits = limits or BatchLimits(scope.settings.batch_rows, scope.settings.batch_writes)
    work, only_new_days = WorkList(limits), WorkList(limits)
    changed = WorkList(limits) if counts_new_days else work
    # Streamed: in a first run it has all users.
    found = connection.cursor().stream(text, values, size=STREAMED)
    for user, month, rows, users, stored, writes, is_changed, new_rows in found:
        if user is not None:
            work.add(user, rows, writes)
            if not is_changed:
                only_new_days.add(user, rows if scope.settings.tiers == "month" else new_rows, 0)
            elif counts_new_days:
                changed.add(user, rows, writes)
        elif month is not None:
            by_month[month] = MonthCount(rows, users, stored)
        else:
            ownerless = rows
    return Detected(by_month, work, changed, only_new_days, ownerless)


def _work_list_query(
    scope: RunScope, months: Sequence[date], *, is_before_close: bool, counts_new_days: bool
) -> sql.Composed:
    """Returns the query of ``detect``; ``counts_new_days``: apart from the covered ones."""
    credits, replaced = scope.credits, dict[str, sql.Composable]()
    if not counts_new_days:  # then nothing more is computed for each row
        replaced["new_days"] = compose("detection.no_new_days")
    if not credits.has_accounts:
        replaced |= {"account_hashes": compose("detection.no_account_hashes"), "draws_without_usage": sql.SQL("")}
    return compose(
        "detection.work_list",
        scope.settings,
        **_compared_parts(scope, months),
        entries=billing_mode_history.entries_query(scope),
        account_hash=fingerprints.account_hash(credits),
        open_debts=debts.open_totals_query(scope),
        debts=debts.debt_users_query(scope, is_before_close=is_before_close),
        usable=credits.usable(),
        draw_days=in_spans("usage_date", scope.window.spans_of(months)),
        month_days=in_spans("usage_date", month_spans(months)),
        **replaced,
    )


def find_changed_inputs(
    connection: Connection, scope: RunScope, months: Sequence[date]
) -> tuple[dict[date, int], list[ChangedInput]]:
    """Compares usage, prices and price overrides of ``months`` with what they were computed with.

    Returns the number of rows by month now, and every user-month that differs.
    """
    connection.execute(MEMORY)
    text = compose(
        "detection.differences",
        scope.settings,
        **_compared_parts(scope, months),
        flags=compose("detection.changed_inputs"),
        joins=sql.SQL(""),
        new_days=compose("detection.no_new_days"),
    )
    rows = connection.execute(text, _comparison_values(scope, months)).fetchall()
    return (
        {month: count for user, month, *_, count in rows if user is None},
        [ChangedInput(user, *found) for user, *found, _ in rows if user is not None],
    )


def read_fingerprints(
    connection: Connection, scope: RunScope, users: Collection[str]
) -> dict[tuple[str, date], tuple[int, int, int]]:
    """Returns row count, usage_hash and written_hash by user and month, of ``users`` now."""
    text = compose(
        "detection.users_fingerprints",
        scope.settings,
        **_compared_parts(scope, scope.window.months),
        users=text_array(users),
    )
    return {(user, month): (rows, usage, written) for user, month, rows, usage, written in connection.execute(text)}


def count_draws(connection: Connection, scope: RunScope, users: Collection[str]) -> dict[str, int]:
    """Returns how many ledger entries each of ``users`` has in the months of the window."""
    days = in_spans("usage_date", month_spans(scope.window.months))
    text = compose("detection.draw_counts", scope.settings, users=text_array(users), draw_days=days)
    return dict(connection.execute(text).fetchall())


def _compared_parts(scope: RunScope, months: Sequence[date]) -> dict[str, sql.Composable]:
    """Returns the parts of the query `compared` that every use of it has."""
    return {
        "month": fingerprints.month_of(months),
        "usage_hash": scope.query.usage_hash,
        "written_hash": scope.query.written_hash,
        "days": in_spans("date", scope.window.spans_of(months)),
    }


def month_values(scope: RunScope, months: Sequence[date]) -> dict[str, list[Any]]:
    """Returns the values of the queries `compared` and `mode_hashes` by month."""
    return bind_columns(
        "months ends covered_ends rates covered_rates forced currencies",
        (
            (
                *(month, scope.window.last_of(month), scope.last_covered(month)),
                *(scope.rates_hash(month), scope.rates_hash(month, scope.last_covered(month))),
                *(month in scope.not_comparable, scope.currencies[month]),
            )
            for month in months
        ),
    )


def _comparison_values(scope: RunScope, months: Sequence[date]) -> dict[str, Any]:
    overridden = [
        (user, month, digest, covered.get(user))
        for month in months
        for covered in [scope.overrides.digests(month, scope.last_covered(month))]
        for user, digest in scope.overrides.digests(month, scope.window.last_of(month)).items()
    ]
    names = "override_users override_months override_hashes covered_overrides"
    return month_values(scope, months) | bind_columns(names, overridden) | {"covered_to": scope.covered_to}
