"""``rollup.debts``: listed and written off; and the conditions by which detection finds those to be written, and those
that credit can settle.

No polars: every run asks.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row

from jobs.domain.billing_periods import month_spans
from jobs.domain.fixed_point import unscaled
from jobs.postgres import fingerprints
from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope
from jobs.postgres.sql_loader import app_table, compose, in_spans, job_table
from jobs.postgres.usage_query import deducted
from jobs.settings import Settings


def open_totals(scope: RunScope) -> sql.Composed:
    """By user what his open debts come to: a part of credits_hash."""
    return compose("debts.open_totals", **_tables(scope), anew=sql.Literal(sorted(scope.window.debt_months)))


def found(scope: RunScope, *, again: bool) -> sql.Composed:
    """Users of whom debts are to be written because a month closes, or settled. ``again``: only the former."""
    credits, rules = scope.query.read.credits, scope.credit_rules
    nothing = sql.SQL("").format()
    if credits.account is None:
        return nothing
    unwritten = debtors = nothing
    if scope.window.closing:
        closing = sql.Literal(sorted(scope.window.closing))
        unwritten = compose("debts.unwritten", debts=job_table(scope.settings, "debts"), closing=closing)
    if scope.window.open and not again:
        free_used, used = credits.used()
        debtors = compose(
            "debts.debtors",
            debts=job_table(scope.settings, "debts"),
            accounts=app_table(scope.settings, "user_credits"),
            usable=credits.usable(),
            unit=sql.Literal(unscaled(rules.unit)),
            payable=payable(scope, sql.SQL("d.user_id = a.user_id").format(), None),
            draws=job_table(scope.settings, "credit_draws"),
            usage=app_table(scope.settings, "usage_daily"),
            open_days=_drawn_days(scope),
            reported=_reported(scope),
            granted=credits.amount("free_credits_granted", "a"),
            bought=credits.amount("total_purchased", "a"),
            free_used=free_used,
            used=used,
        )
    return unwritten + debtors


def payable(scope: RunScope, users: sql.Composable, run_id: int | None) -> sql.Composed:
    """The debts of ``users`` (a condition) that credit can settle now, beside what their rows show (in units of
    10^-10)."""
    credits, settings = scope.query.read.credits, scope.settings
    nothing = sql.SQL("NULL::numeric").format()
    rated = any(mode == "rated" for mode in scope.months.modes.values())
    cost = sql.SQL("CASE WHEN m.cost_mode = 'rated' THEN u.total_cost::numeric END").format() if rated else nothing
    shown, drawn = nothing, nothing
    if credits.shown:
        shown, drawn = sql.SQL("u.credits_deducted::numeric").format(), sql.SQL("w.drawn").format()
    return compose(
        "debts.payable",
        **_tables(scope),
        usage=app_table(settings, "usage_daily"),
        user_daily=job_table(settings, "user_daily"),
        draws=job_table(settings, "credit_draws"),
        deducted=deducted() if credits.shown else nothing,
        ledger_hash=fingerprints.written_hash(cost, drawn, of="u"),
        written_hash=fingerprints.written_hash(cost, shown, of="u"),
        unit=sql.Literal(unscaled(scope.credit_rules.unit)),
        users=users,
        reported=_reported(scope),
        computed=sql.Literal(sorted(scope.window.months)),
        run_id=sql.Literal(run_id),
    )


def _drawn_days(scope: RunScope) -> sql.Composed:
    """The days of open months of which draws are ours to decide: those before `credits.start` stay as they are."""
    days, start = in_spans("usage_date", month_spans(scope.window.open)), scope.credit_rules.start
    return days if start is None else sql.SQL("{} AND usage_date >= {}").format(days, start)


def _reported(scope: RunScope) -> sql.SQL:
    """Whether a row, ``u``, was invoiced already."""
    return sql.SQL("u.reported_to_stripe IS TRUE" if scope.query.read.credits.reported else "false")


def _tables(scope: RunScope) -> dict[str, sql.Composable]:
    return {name: job_table(scope.settings, name) for name in ("debts", "months")}


@dataclass(frozen=True, slots=True)
class Debt:
    """What was not covered of a usage row when its month closed: ``amount``, and what of it was ``settled`` by later
    credit or ``written_off``; all in the currency of the settings."""

    usage_daily_id: UUID
    user_id: str
    usage_date: date
    amount: Decimal
    settled: Decimal
    written_off: Decimal
    reason: str | None

    @property
    def open(self) -> Decimal:
        """What is still owed."""
        return self.amount - self.settled - self.written_off


def read_debts(connection: Connection, settings: Settings, user: str | None = None) -> list[Debt]:
    """The debts of closed months (of ``user``), by user and day."""
    text = compose("debts.list", debts=job_table(settings, "debts"), months=job_table(settings, "months"))
    with connection.cursor(row_factory=class_row(Debt)) as cursor:
        return cursor.execute(text, {"user": user}).fetchall()


def write_off(connection: Connection, settings: Settings, user: str, reason: str, run_id: int) -> None:
    """Ends what is open of the debts of ``user`` in closed months, in the caller's transaction."""
    text = compose("debts.write_off", debts=job_table(settings, "debts"), months=job_table(settings, "months"))
    connection.execute(text, {"user": user, "reason": reason, "run_id": run_id})
