"""Finds, on the server, whose months are no longer what they were computed from; only their ids come back.

One statement compares each user's months with user_monthly: the fingerprints of his rows, the hashes of prices and
price overrides, how he paid, and his account. Where nothing has changed no usage row is read.
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
from jobs.postgres.sql_loader import app_table, compose, in_spans, job_table, text_array

STREAMED = 1000
"""Rows of the work list that are fetched at a time."""
MEMORY = "SET LOCAL work_mem = '128MB'"
"""For grouping 100,000 users: with the server's usual 4 MB it takes twice as long. Until the transaction ends."""


@dataclass(frozen=True, slots=True)
class MonthCount:
    """Usage rows and users of a month as they are now, and how many users are ``stored``."""

    rows: int = 0
    users: int = 0
    stored: int = 0


@dataclass(frozen=True, slots=True)
class Detected:
    """What was counted by month, and the work list, sorted by user: of its users something of covered days differs, or
    may differ (``changed``), or they only have new days (``added``). ``ownerless``: rows without a user or a day."""

    months: Mapping[date, MonthCount]
    work: WorkList
    changed: WorkList
    added: WorkList
    ownerless: int

    @property
    def rows(self) -> int:
        return sum(month.rows for month in self.months.values())


@dataclass(frozen=True, slots=True)
class Difference:
    """A user-month that differs, and in which of its inputs."""

    user: str
    month: date
    usage: bool
    price: bool
    override: bool


@dataclass(frozen=True, slots=True)
class Differences:
    """Rows by month as they are now, and every user-month that differs."""

    rows: Mapping[date, int] = field(default_factory=dict)
    found: Sequence[Difference] = ()


def detect(
    connection: Connection,
    scope: RunScope,
    months: Sequence[date],
    *,
    full: bool = False,
    again: bool = False,
    limits: BatchLimits | None = None,
) -> Detected:
    """Compares all users' months. ``full``: everybody is to be recomputed, whatever the comparison says; ``again``:
    this run has recomputed months whose stored fingerprints covered something else; ``limits``: of a batch, where they
    are not those of a run."""
    connection.execute(MEMORY)
    splits = scope.new_days is not None and not again
    text, values = _work_list(scope, months, full=full, again=again, splits=splits)
    by_month, ownerless = dict[date, MonthCount](), 0
    limits = limits or BatchLimits(scope.settings.batch_rows, scope.settings.batch_writes)
    work, added = WorkList(limits), WorkList(limits)
    changed = WorkList(limits) if splits else work
    found = connection.cursor().stream(text, values, size=STREAMED)  # as they come: of a first run everybody does
    for user, month, rows, *users, writes, is_changed, new_rows in found:
        if user is not None:
            work.add(user, rows, writes)
            if not is_changed:
                added.add(user, rows if scope.settings.tiers == "month" else new_rows, 0)
            elif splits:
                changed.add(user, rows, writes)
        elif month is not None:
            by_month[month] = MonthCount(rows, *users)
        else:
            ownerless = rows
    return Detected(by_month, work, changed, added, ownerless)


def _work_list(
    scope: RunScope, months: Sequence[date], *, full: bool, again: bool, splits: bool
) -> tuple[sql.Composed, dict[str, Any]]:
    """The query of ``detect``, and its values. ``splits``: new days are known apart."""
    paid = scope.query.read.credits
    joins = [
        sql.SQL("LEFT JOIN ({}) AS b USING (user_id, month)").format(modes_hashes(scope.mode_entries())),
        *(
            [sql.SQL("LEFT JOIN ({}) AS a USING (user_id)").format(_accounts(scope))]
            if paid.account is not None
            else []
        ),
        sql.SQL("LEFT JOIN ({}) AS d USING (user_id)").format(debts.open_totals(scope)),
    ]
    account = sql.SQL("coalesce(a.account_hash::text, '-')" if paid.account is not None else "'-'")
    flags = query_flags(account, is_written=_is_written(scope), splits=splits)
    text = compose(
        "detection.work_list",
        compared=_compared(scope, months, flags, joins, splits=splits),
        all_users=sql.SQL("true" if full else "false"),
        unpaid=_draws_without_usage(scope, months),
        debts=debts.found(scope, again=again),
    )
    values = _values(scope, months) | month_ends(scope, months)
    if again:
        values["forced"] = [False] * len(months)
    return text, values


def query_flags(account: sql.Composable, *, is_written: sql.Composable, splits: bool) -> sql.Composed:
    """Whether a user-month differs from what it was computed from, in any of its inputs; and whether it would without
    the new days (``splits``: whether these are known apart)."""
    usage = sql.SQL("f.row_count, f.usage_hash, f.written_hash")
    differs = _differs(usage, account, "modes_hash", "rates_hash", "overrides_hash")
    is_changed, new_rows = sql.SQL("true").format(), sql.SQL("0::bigint")
    if splits:
        covered = sql.SQL(
            "f.row_count - f.new_rows, f.usage_hash # coalesce(f.new_usage, 0),"
            " f.written_hash # coalesce(f.new_written, 0)"
        )
        is_changed = sql.SQL("CASE WHEN s.user_id IS NULL THEN f.row_count > f.new_rows ELSE {} END").format(
            _differs(covered, account, "covered_modes", "covered_rates", "covered_overrides")
        )
        new_rows = sql.SQL("f.new_rows")
    return sql.SQL(
        "{differs}\n      AS differs, {is_written} AS is_written, {is_changed} AS is_changed, {new_rows} AS new_rows"
    ).format(differs=differs, is_written=is_written, is_changed=is_changed, new_rows=new_rows)


def _differs(usage: sql.Composable, account: sql.Composable, modes: str, rates: str, overrides: str) -> sql.Composed:
    return sql.SQL(
        "({usage}) IS DISTINCT FROM (s.row_count, s.usage_hash, s.written_hash)"
        "\n    OR m.forced OR s.rates_hash IS DISTINCT FROM m.{rates}"
        "\n    OR s.overrides_hash IS DISTINCT FROM o.{overrides}"
        "\n    OR s.currency IS DISTINCT FROM m.currency"
        # A month that the account does not pay has no account in its hash (pipeline.batch_changes).
        "\n    OR s.credits_hash IS DISTINCT FROM concat_ws('.', coalesce(b.{modes}, 0)::text,"
        "\n      CASE WHEN split_part(s.credits_hash, '.', 2) = '' THEN '' ELSE {account} END, %(credit_rules)s::text,"
        "\n      d.debts)"
    ).format(
        usage=usage,
        account=account,
        modes=sql.Identifier(modes),
        rates=sql.Identifier(rates),
        overrides=sql.Identifier(overrides),
    )


def differences(connection: Connection, scope: RunScope, months: Sequence[date]) -> Differences:
    """For months that are closed: usage, prices and price overrides as they are now, beside what they closed with."""
    connection.execute(MEMORY)
    flags = sql.SQL(
        "m.forced OR (f.row_count, f.usage_hash) IS DISTINCT FROM (s.row_count, s.usage_hash) AS differs_usage,"
        "\n    s.rates_hash IS DISTINCT FROM m.rates_hash AS differs_price,"
        "\n    s.overrides_hash IS DISTINCT FROM o.overrides_hash AS differs_override"
    ).format()
    text = compose("detection.differences", compared=_compared(scope, months, flags, []))
    rows = connection.execute(text, _values(scope, months)).fetchall()
    return Differences(
        {month: count for user, month, count, *_ in rows if user is None},
        [
            Difference(user, month, usage, price, override)
            for user, month, _, usage, price, override in rows
            if user is not None
        ],
    )


def users_fingerprints(
    connection: Connection, scope: RunScope, users: Collection[str]
) -> dict[tuple[str, date], tuple[int, int, int]]:
    """Rows, usage_hash and written_hash of each month of some users, as they are now."""
    text = compose(
        "detection.users_fingerprints",
        month=fingerprints.month_of(scope.window.months),
        usage_hash=scope.query.usage_hash,
        written_hash=scope.query.written_hash,
        usage=app_table(scope.settings, "usage_daily"),
        users=text_array(users),
        days=in_spans("date", scope.window.spans()),
    )
    return {(user, month): (rows, usage, written) for user, month, rows, usage, written in connection.execute(text)}


def draw_counts(connection: Connection, scope: RunScope, users: Collection[str]) -> dict[str, int]:
    """How many entries the ledger has of ``users`` in the months of the window."""
    draws = job_table(scope.settings, "credit_draws")
    days = in_spans("usage_date", month_spans(scope.window.months))
    text = compose("detection.draw_counts", draws=draws, users=text_array(users), draw_days=days)
    return dict(connection.execute(text).fetchall())


def _draws_without_usage(scope: RunScope, months: Sequence[date]) -> sql.Composed:
    paid = scope.query.read.credits
    if paid.account is None:
        return sql.SQL("").format()
    return compose(
        "detection.draws_without_usage",
        accounts=app_table(scope.settings, "user_credits"),
        usable=paid.usable(),
        draws=job_table(scope.settings, "credit_draws"),
        draw_days=in_spans("usage_date", scope.window.spans_of(months)),
        month_days=in_spans("usage_date", month_spans(months)),
    )


def modes_hashes(entries: sql.Composable) -> sql.Composed:
    """By user and month a hash of those of ``entries`` (user_id, valid_from, mode) that hold up to its last day in
    question, and of those up to its last covered day."""
    return compose("detection.modes", entries=entries)


def month_ends(scope: RunScope, months: Sequence[date]) -> dict[str, Any]:
    """The values of ``modes_hashes``: days up to which it looks."""
    return {
        "months": list(months),
        "ends": [scope.window.last_of(month) for month in months],
        "covered_ends": [scope.last_covered(month) for month in months],
    }


def _accounts(scope: RunScope) -> sql.Composed:
    return compose(
        "detection.accounts",
        account_hash=fingerprints.account_hash(scope.query.read.credits),
        accounts=app_table(scope.settings, "user_credits"),
    )


def _is_written(scope: RunScope) -> sql.Composed:
    """Whether a batch may write the rows of a user-month to usage_daily."""
    rated = [sql.SQL("month = ANY({})").format(sorted(scope.rules.rated))] if scope.rules.rated else []
    drawn = [sql.SQL("coalesce(b.is_prepaid, false)").format()] if scope.query.read.credits.account is not None else []
    return sql.SQL(" OR ").join([*rated, *drawn, sql.SQL("false").format()])


def _compared(
    scope: RunScope,
    months: Sequence[date],
    flags: sql.Composable,
    joins: Sequence[sql.Composable],
    *,
    splits: bool = False,
) -> sql.Composed:
    # Nothing more is computed of each row where no day is new.
    is_new = new_days = new_columns = sql.SQL("").format()
    if splits:
        new_columns = sql.SQL(", new_rows, new_usage, new_written").format()
        is_new = sql.SQL(", date > {} AS is_new").format(scope.covered_to)
        new_days = compose("detection.new_days")
    return compose(
        "detection.compared",
        is_new=is_new,
        new_days=new_days,
        new_columns=new_columns,
        month=fingerprints.month_of(months),
        usage_hash=scope.query.usage_hash,
        written_hash=scope.query.written_hash,
        usage=app_table(scope.settings, "usage_daily"),
        days=in_spans("date", scope.window.spans_of(months)),
        user_monthly=job_table(scope.settings, "user_monthly"),
        flags=flags,
        joins=sql.SQL("\n  ").join(joins),
    )


def _values(scope: RunScope, months: Sequence[date]) -> dict[str, Any]:
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
        "credit_rules": scope.credit_terms,
    }
