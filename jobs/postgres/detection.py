"""Detects, on the server, the users whose inputs have changed since their months were computed.

One statement compares each user's months with user_monthly: the fingerprint of his rows, and the hashes of prices,
price overrides, billing modes and account. It returns only ids and counts. An unchanged user is skipped: his usage rows
are not read.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from psycopg import sql

from jobs.domain.billing_periods import month_spans
from jobs.domain.work_list import BatchLimits, WorkList
from jobs.postgres import debts, fingerprints
from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope
from jobs.postgres.sql_loader import compose, in_spans, text_array

STREAMED = 1000
"""Rows of the work list that are fetched at a time."""
MEMORY = "SET LOCAL work_mem = '128MB'"
"""For grouping 100,000 users: with the default of 4 MB it takes twice as long. Valid until the transaction ends."""


@dataclass(frozen=True, slots=True)
class MonthCount:
    """Usage rows and users of a month now, and the number of users in user_monthly (``stored``)."""

    rows: int = 0
    users: int = 0
    stored: int = 0


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


@dataclass(frozen=True, slots=True)
class ChangedInput:
    """A user-month whose inputs have changed: usage, price or price override."""

    user: str
    month: date
    usage: bool
    price: bool
    override: bool


@dataclass(frozen=True, slots=True)
class ChangedInputs:
    """Rows by month now, and every user-month that differs."""

    rows: Mapping[date, int] = field(default_factory=dict)
    found: Sequence[ChangedInput] = ()


def detect(
    connection: Connection,
    scope: RunScope,
    months: Sequence[date],
    *,
    full: bool = False,
    is_recheck: bool = False,
    limits: BatchLimits | None = None,
) -> Detected:
    """Compares the inputs of all users in ``months`` with user_monthly.

    - ``full``: put all users on the work list
    - ``is_recheck``: this run has recomputed the months that were not comparable, and users with debts to settle
    - ``limits``: the size of a batch, where it is not that of the settings
    """
    connection.execute(MEMORY)
    counts_new_days = scope.new_days is not None and not is_recheck
    text, values = _work_list_query(scope, months, full=full, is_recheck=is_recheck, counts_new_days=counts_new_days)
    by_month, ownerless = dict[date, MonthCount](), 0
    limits = limits or BatchLimits(scope.settings.batch_rows, scope.settings.batch_writes)
    work, only_new_days = WorkList(limits), WorkList(limits)
    changed = WorkList(limits) if counts_new_days else work
    found = connection.cursor().stream(text, values, size=STREAMED)  # streamed: in a first run it has all users
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
    scope: RunScope, months: Sequence[date], *, full: bool, is_recheck: bool, counts_new_days: bool
) -> tuple[sql.Composed, dict[str, Any]]:
    """Returns the query of ``detect`` and its values; ``counts_new_days``: apart from the covered ones."""
    credits = scope.credits
    # Composed: the joins depend on which tables exist, the conditions on the months and their cost modes.
    joins = [
        sql.SQL("LEFT JOIN ({}) AS b USING (user_id, month)").format(mode_hashes_query(scope.billing_modes_query())),
        *(
            [sql.SQL("LEFT JOIN ({}) AS a USING (user_id)").format(_account_hashes_query(scope))]
            if credits.has_accounts
            else []
        ),
        sql.SQL("LEFT JOIN ({}) AS d USING (user_id)").format(debts.open_totals_query(scope)),
    ]
    account = sql.SQL("coalesce(a.account_hash::text, '-')" if credits.has_accounts else "'-'")
    flags = query_flags(account, is_written=_is_written_condition(scope), counts_new_days=counts_new_days)
    text = compose(
        "detection.work_list",
        compared=_compared_query(scope, months, flags, joins, counts_new_days=counts_new_days),
        all_users=sql.SQL("true" if full else "false"),
        draws_without_usage=_draws_without_usage_query(scope, months),
        debts=debts.debt_users_query(scope, is_recheck=is_recheck),
    )
    values = _comparison_values(scope, months) | mode_hashes_values(scope, months)
    if is_recheck:
        values["forced"] = [False] * len(months)
    return text, values


def query_flags(account: sql.Composable, *, is_written: sql.Composable, counts_new_days: bool) -> sql.Composed:
    """Returns SQL expressions: whether any input of a user-month has changed (``differs``), whether it has without the
    new days (``is_changed``), and the number of new rows. ``counts_new_days``: new days are counted apart.

    They are composed here because columns and joins depend on ``counts_new_days`` and on whether there are accounts.
    """
    usage = sql.SQL("f.row_count, f.usage_hash, f.written_hash")
    differs = _differs_condition(usage, account, "modes_hash", "rates_hash", "overrides_hash")
    is_changed, new_rows = sql.SQL("true").format(), sql.SQL("0::bigint")
    if counts_new_days:
        covered = sql.SQL(
            "f.row_count - f.new_rows, f.usage_hash # coalesce(f.new_usage, 0),"
            " f.written_hash # coalesce(f.new_written, 0)"
        )
        is_changed = sql.SQL("CASE WHEN s.user_id IS NULL THEN f.row_count > f.new_rows ELSE {} END").format(
            _differs_condition(covered, account, "covered_modes", "covered_rates", "covered_overrides")
        )
        new_rows = sql.SQL("f.new_rows")
    return sql.SQL(
        "{differs}\n      AS differs, {is_written} AS is_written, {is_changed} AS is_changed, {new_rows} AS new_rows"
    ).format(differs=differs, is_written=is_written, is_changed=is_changed, new_rows=new_rows)


def _differs_condition(
    usage: sql.Composable, account: sql.Composable, modes: str, rates: str, overrides: str
) -> sql.Composed:
    return sql.SQL(
        "({usage}) IS DISTINCT FROM (s.row_count, s.usage_hash, s.written_hash)"
        "\n    OR m.forced OR s.rates_hash IS DISTINCT FROM m.{rates}"
        "\n    OR s.overrides_hash IS DISTINCT FROM o.{overrides}"
        "\n    OR s.currency IS DISTINCT FROM m.currency"
        # A month without prepaid usage has no account in its credits_hash (pipeline.month_hashes).
        "\n    OR s.credits_hash IS DISTINCT FROM concat_ws('.', coalesce(b.{modes}, 0)::text,"
        "\n      CASE WHEN split_part(s.credits_hash, '.', 2) = '' THEN '' ELSE {account} END, %(credit_terms)s::text,"
        "\n      d.debts)"
    ).format(
        usage=usage,
        account=account,
        modes=sql.Identifier(modes),
        rates=sql.Identifier(rates),
        overrides=sql.Identifier(overrides),
    )


def find_changed_inputs(connection: Connection, scope: RunScope, months: Sequence[date]) -> ChangedInputs:
    """Compares usage, prices and price overrides of closed months with what they were closed with."""
    connection.execute(MEMORY)
    # The expressions take the place of those of `query_flags` in the same query.
    flags = sql.SQL(
        "m.forced OR (f.row_count, f.usage_hash) IS DISTINCT FROM (s.row_count, s.usage_hash) AS differs_usage,"
        "\n    s.rates_hash IS DISTINCT FROM m.rates_hash AS differs_price,"
        "\n    s.overrides_hash IS DISTINCT FROM o.overrides_hash AS differs_override"
    ).format()
    text = compose("detection.differences", compared=_compared_query(scope, months, flags, []))
    rows = connection.execute(text, _comparison_values(scope, months)).fetchall()
    return ChangedInputs(
        {month: count for user, month, count, *_ in rows if user is None},
        [
            ChangedInput(user, month, usage, price, override)
            for user, month, _, usage, price, override in rows
            if user is not None
        ],
    )


def read_fingerprints(
    connection: Connection, scope: RunScope, users: Collection[str]
) -> dict[tuple[str, date], tuple[int, int, int]]:
    """Returns row count, usage_hash and written_hash by user and month, of ``users`` now."""
    text = compose(
        "detection.users_fingerprints",
        scope.settings,
        month=fingerprints.month_of(scope.window.months),
        usage_hash=scope.query.usage_hash,
        written_hash=scope.query.written_hash,
        users=text_array(users),
        days=in_spans("date", scope.window.spans()),
    )
    return {(user, month): (rows, usage, written) for user, month, rows, usage, written in connection.execute(text)}


def count_draws(connection: Connection, scope: RunScope, users: Collection[str]) -> dict[str, int]:
    """Returns how many ledger entries each of ``users`` has in the months of the window."""
    days = in_spans("usage_date", month_spans(scope.window.months))
    text = compose("detection.draw_counts", scope.settings, users=text_array(users), draw_days=days)
    return dict(connection.execute(text).fetchall())


def _draws_without_usage_query(scope: RunScope, months: Sequence[date]) -> sql.Composed:
    credits = scope.credits
    if not credits.has_accounts:
        return sql.SQL("").format()
    return compose(
        "detection.draws_without_usage",
        scope.settings,
        usable=credits.usable(),
        draw_days=in_spans("usage_date", scope.window.spans_of(months)),
        month_days=in_spans("usage_date", month_spans(months)),
    )


def mode_hashes_query(entries: sql.Composable) -> sql.Composed:
    """Returns the query of hashes by user and month: of the ``entries`` (user_id, valid_from, mode) up to the month's
    last day, and up to its last covered day."""
    return compose("detection.mode_hashes", entries=entries)


def mode_hashes_values(scope: RunScope, months: Sequence[date]) -> dict[str, Any]:
    """Returns the values of ``mode_hashes_query``: months with their last day and their last covered day."""
    return {
        "months": list(months),
        "ends": [scope.window.last_of(month) for month in months],
        "covered_ends": [scope.last_covered(month) for month in months],
    }


def _account_hashes_query(scope: RunScope) -> sql.Composed:
    return compose("detection.account_hashes", scope.settings, account_hash=fingerprints.account_hash(scope.credits))


def _is_written_condition(scope: RunScope) -> sql.Composed:
    """Returns the condition that a batch may write usage_daily rows of a user-month."""
    rated = [sql.SQL("month = ANY({})").format(sorted(scope.cost_rules.rated))] if scope.cost_rules.rated else []
    drawn = [sql.SQL("coalesce(b.is_prepaid, false)").format()] if scope.credits.has_accounts else []
    return sql.SQL(" OR ").join([*rated, *drawn, sql.SQL("false").format()])


def _compared_query(
    scope: RunScope,
    months: Sequence[date],
    flags: sql.Composable,
    joins: Sequence[sql.Composable],
    *,
    counts_new_days: bool = False,
) -> sql.Composed:
    # Without new days nothing more is computed for each row.
    is_new = new_days = new_columns = sql.SQL("").format()
    if counts_new_days:
        new_columns = sql.SQL(", new_rows, new_usage, new_written").format()
        is_new = sql.SQL(", date > {} AS is_new").format(scope.covered_to)
        new_days = compose("detection.new_days")
    return compose(
        "detection.compared",
        scope.settings,
        is_new=is_new,
        new_days=new_days,
        new_columns=new_columns,
        month=fingerprints.month_of(months),
        usage_hash=scope.query.usage_hash,
        written_hash=scope.query.written_hash,
        days=in_spans("date", scope.window.spans_of(months)),
        flags=flags,
        joins=sql.SQL("\n  ").join(joins),
    )


def _comparison_values(scope: RunScope, months: Sequence[date]) -> dict[str, Any]:
    overridden = [
        (user, month, digest, covered.get(user))
        for month in months
        for covered in [scope.overrides.digests(month, scope.last_covered(month))]
        for user, digest in scope.overrides.digests(month, scope.window.last_of(month)).items()
    ]
    return {
        "months": list(months),
        "rates": [scope.rates_hash(month) for month in months],
        "covered_rates": [scope.rates_hash(month, scope.last_covered(month)) for month in months],
        "forced": [month in scope.not_comparable for month in months],
        "override_users": [user for user, *_ in overridden],
        "override_months": [month for _, month, *_ in overridden],
        "override_hashes": [digest for _, _, digest, _ in overridden],
        "covered_overrides": [covered for *_, covered in overridden],
        "currencies": [scope.currencies[month] for month in months],
        "credit_terms": scope.credit_terms,
    }
