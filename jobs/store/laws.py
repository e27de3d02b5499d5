"""The money laws that SQL alone can judge (DESIGN section 4): two sums that must be one, and who breaks it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from psycopg import sql

from jobs.model.meters import cost_of, days_of
from jobs.settings import Settings
from jobs.store import runlog
from jobs.store.credit_source import CreditSource
from jobs.store.database import Connection
from jobs.store.statements import columns, own, source, statement


@dataclass(frozen=True, slots=True)
class Law:
    """One line of `reconcile`: both figures, how many break it, the first ten of them, and what else to say."""

    law: str
    left: Decimal | int | str
    right: Decimal | int | str
    broken: int = 0
    culprits: tuple[str, ...] = ()
    note: str = ""
    judged: bool = True

    @property
    def verdict(self) -> str:
        """Whether it holds; a line that is not ``judged`` only counts what could not be."""
        return "broken" if self.broken else "holds" if self.judged else "not judged"


USER_MONTHS = "1 user_monthly = user_daily by user and month"
LEDGER_BY_ROW = "4 ledger by row = credits_deducted"
Unfinished = tuple[int, str, date, date]
"""A run that did not come to its end: its number, kind, and days from and to."""


@dataclass(frozen=True, slots=True)
class LastRun:
    """A row of rollup.runs; ``wrote``: whether it has written anything."""

    number: int
    kind: str
    first: date
    last: date
    status: str
    wrote: bool


@dataclass(frozen=True, slots=True)
class Scope:
    """``months``: those in question, sorted; ``rows_of``: the months whose usage rows are judged; ``until``: the last
    day that a run has covered."""

    months: Sequence[date]
    rows_of: Sequence[date]
    until: date


def judged(
    connection: Connection, settings: Settings, held: CreditSource, names: Sequence[str], scope: Scope
) -> Iterator[Law]:
    """Every law in turn. ``names``: the additive columns besides total_cost."""
    covered = {"covered": list(scope.months), "first": scope.months[0], "last": scope.months[-1]}
    days = covered | {"months": list(scope.rows_of), "until": scope.until}
    left_out = connection.execute(
        statement("left_out", months=own(settings, "months"), touched_days=own(settings, "touched_days")),
        [list(scope.months)],
    ).fetchall()
    for law, text in _rolled_up(settings, names):
        yield _with_left_out(_judged(connection, law, text, days), scope, left_out)
    yield _judged(connection, "6 rejected as counted = rejects that stand", _rejects(settings), {})
    for law, text in _ledger(settings, held):
        yield _judged(connection, law, text, days)
    if held.account is not None:
        if held.transactions:
            yield from _transactions(connection, settings, held)
        yield from _closed(connection, settings)


def _judged(connection: Connection, law: str, text: sql.Composed, values: Mapping[str, object]) -> Law:
    row = connection.execute(statement("judged", law=text), values).fetchone()
    assert row is not None  # noqa: S101 - an aggregate is always one row
    left, right, broken, culprits = row
    return Law(law, left, right, broken, tuple(culprits))


def _with_left_out(law: Law, scope: Scope, left_out: Sequence[tuple[date, bool, bool]]) -> Law:
    """``law`` with a note of the months that it leaves out. ``left_out``: month, whether it has days that are not
    regrouped yet, whether it is not in user_daily yet."""
    by_user, grouped = law.law == USER_MONTHS, "user_daily" in law.law
    out = [month for month, waits, is_bare in left_out if (waits and not by_user) or (is_bare and grouped)]
    if not out:
        return law
    some = ", ".join(f"{month:%Y-%m}" for month in out[:3]) + (f" and {len(out) - 3} more" if len(out) > 3 else "")
    note = f"left out, until a run or backfill has computed them whole: {some}"
    return replace(law, note=note, judged=law.judged and len(out) < len(scope.months))


def _rolled_up(settings: Settings, names: Sequence[str]) -> Iterator[tuple[str, sql.Composed]]:
    touched = own(settings, "touched_days")
    for of, what in ((["total_cost"], "total cost"), (names, "quantities, charges and credits")):
        sums = _sums(settings, of)
        for column, by in (("months", "month"), ("days", "day")):
            text = statement("law_clusters", sums=sums, which=sql.Identifier(column), touched_days=touched)
            yield f"1 {what} by user = by cluster and {by}", text
    yield from _grouped(settings)
    yield (
        "1 cost of the months as booked = by user",
        statement(
            "law_months",
            months=own(settings, "months"),
            user_monthly=own(settings, "user_monthly"),
            touched_days=touched,
        ),
    )


def _grouped(settings: Settings) -> Iterator[tuple[str, sql.Composed]]:
    """Every roll-up is a GROUP BY of user_daily."""
    meters = settings.meters
    daily = [
        *(name for meter in meters for name in (meter.name, cost_of(meter.name))),
        *("adjustment_cost", "total_cost", "credits_deducted"),
    ]
    levels = {meter.name for meter in meters if meter.is_level}
    monthly = [days_of(name) if name in levels else name for name in daily]
    tables = ("user_daily", "user_monthly", "cluster_daily", "cluster_monthly", "months", "touched_days")
    parts: dict[str, sql.Composable] = {table: own(settings, table) for table in tables}
    parts["sums"] = sql.SQL(", ").join(sql.SQL("sum({0}) AS {0}").format(sql.Identifier(name)) for name in daily)
    for law, text, of, stored in (
        (USER_MONTHS, "law_user_days", "m", monthly),
        ("1 cluster_daily = user_daily by day and cluster", "law_cluster_days", "c", daily),
        ("1 cluster_monthly = user_daily by month and cluster", "law_cluster_months", "c", monthly),
    ):
        pairs = zip(daily, stored, strict=True)
        sides = [(sql.Identifier("d", name), sql.Identifier(of, kept)) for name, kept in pairs]
        yield (
            law,
            statement(
                text,
                # Nothing to group is a sum of 0: a user all of whose rows are rejected.
                grouped=sql.SQL(", ").join(sql.SQL("coalesce({}, 0)").format(side) for side, _ in sides),
                stored=sql.SQL(", ").join(sql.SQL("coalesce({}, 0)").format(side) for _, side in sides),
                columns=columns(stored),
                **parts,
            ),
        )


def _sums(settings: Settings, names: Sequence[str]) -> sql.Composed:
    day_of = {
        "user_monthly": ("month", "users"),
        "cluster_monthly": ("month", "months"),
        "cluster_daily": ("date", "days"),
    }
    columns = [sql.Identifier(name) for name in names]
    pairs = zip(names, columns, strict=True)
    amounts = sql.SQL(", ").join(sql.SQL("({}, s.{})").format(sql.Literal(name), column) for name, column in pairs)
    return sql.SQL(" UNION ALL ").join(
        statement(
            "law_sum",
            day=sql.Identifier(day),
            sums=sql.SQL(", ").join(sql.SQL("sum({0}) AS {0}").format(column) for column in columns),
            table=own(settings, table),
            amounts=amounts,
            **{of: sql.SQL("v.amount" if of == mine else "0::numeric") for of in ("users", "months", "days")},
        )
        for table, (day, mine) in day_of.items()
    )


def _rejects(settings: Settings) -> sql.Composed:
    return statement("law_rejects", rejects=own(settings, "rejects"), runs=own(settings, "runs"))


def _has_account(settings: Settings, table: sql.Identifier) -> sql.Composed:
    return statement("has_account", accounts=source(settings, "user_credits"), table=table)


def _ledger(settings: Settings, held: CreditSource) -> Iterator[tuple[str, sql.Composed]]:
    draws, usage, users = own(settings, "credit_draws"), source(settings, "usage_daily"), own(settings, "user_monthly")
    yield "3 free + purchased = deducted, by user and month", statement("law_kinds", user_monthly=users)
    yield "4 revisions of a row = the highest one", statement("law_revisions", draws=draws)
    if held.account is None:
        return
    months = statement(
        "law_ledger_months",
        draws=draws,
        user_monthly=users,
        usage=usage,
        drawn_has=_has_account(settings, draws),
        user_has=_has_account(settings, users),
    )
    yield "4 ledger by user and month = roll-up", months
    if held.deducted:
        yield LEDGER_BY_ROW, statement("law_ledger_rows", draws=draws, usage=usage)
    if not held.transactions:
        # With a history, what others gave back of it is told there.
        used = sql.SQL("({} + {})").format(held.amount("total_used", "a"), held.amount("free_credits_used", "a"))
        accounts = source(settings, "user_credits")
        yield "4 drawn by us <= used in user_credits", statement("law_used", draws=draws, accounts=accounts, used=used)


def _transactions(connection: Connection, settings: Settings, held: CreditSource) -> Iterator[Law]:
    draws, transactions = own(settings, "credit_draws"), source(settings, "credit_transactions")
    parts = {"transactions": transactions, "ours": statement("ours")}
    booked = statement(
        "law_transactions",
        draws=draws,
        drawn_has=_has_account(settings, draws),
        posted_has=_has_account(settings, transactions),
        **parts,
    )
    yield _judged(connection, "4 ledger by user and run = transactions", booked, {})
    arithmetic = statement("law_arithmetic", **parts)
    yield _judged(connection, "3 balance before + amount = after, not below 0", arithmetic, {})
    accounts = source(settings, "user_credits")
    balances = statement("law_balances", accounts=accounts, balance=held.balance(), **parts)
    law = _judged(connection, "4 transactions add up = balance in user_credits", balances, {})
    gaps = connection.execute(statement("explained_gaps", **parts)).fetchone()
    note = f"other programs posted between two of ours {gaps[0]:,} times" if gaps and gaps[0] else ""
    if law.broken:
        note = f"{note and note + '; '}a balance that was put right by hand needs a transaction that says so"
    yield replace(law, note=note)


def _closed(connection: Connection, settings: Settings) -> Iterator[Law]:
    draws = own(settings, "credit_draws")
    text = statement("closed_accounts", draws=draws, has_account=_has_account(settings, draws))
    row = connection.execute(text).fetchone()
    if row and row[0]:
        note = "they have draws, but no row in user_credits any more: what was booked of them stays"
        yield Law("users without an account", row[0], "", note=note, judged=False)


def unfinished(connection: Connection, settings: Settings) -> list[Unfinished]:
    """Runs that wrote and that nothing has completed."""
    text = statement("unfinished", runs=own(settings, "runs"), wrote=runlog.wrote(settings))
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(text)]


def last_run(connection: Connection, settings: Settings) -> LastRun | None:
    """The newest run; None before the first."""
    text = statement("last_run", runs=own(settings, "runs"), wrote=runlog.wrote(settings))
    row = connection.execute(text).fetchone()
    return None if row is None else LastRun(*row)
