"""``rollup.debts``: lists and writes off debts, and has the queries that find debts to write or to settle.

No polars: every run uses this module.
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
from jobs.postgres.sql_loader import compose, in_spans
from jobs.postgres.usage_query import deducted_expression
from jobs.settings import Settings


def open_totals_query(scope: RunScope) -> sql.Composed:
    """Returns the query of the sum of each user's open debts: a part of credits_hash."""
    return compose("debts.open_totals", scope.settings, rewritten=sql.Literal(sorted(scope.window.debt_months)))


def debt_users_query(scope: RunScope, *, is_recheck: bool) -> sql.Composed:
    """Returns the parts of the work list that debts add: users whose debts of a closing month are to be written, and
    users with debts that credit can settle. ``is_recheck``: only the first part."""
    credits, rules = scope.credits, scope.credit_rules
    nothing = sql.SQL("").format()
    if not credits.has_accounts:
        return nothing
    unwritten = debtors = nothing
    if scope.window.closing:
        closing = sql.Literal(sorted(scope.window.closing))
        unwritten = compose("debts.unwritten", scope.settings, closing=closing)
    if scope.window.open and not is_recheck:
        free_used, used = credits.used()
        debtors = compose(
            "debts.debtors",
            scope.settings,
            usable=credits.usable(),
            unit=sql.Literal(unscaled(rules.unit)),
            payable=payable_query(scope, sql.SQL("d.user_id = a.user_id").format(), None),
            open_days=_open_days_condition(scope),
            reported=_reported_condition(scope),
            granted=credits.amount("free_credits_granted"),
            bought=credits.amount("total_purchased"),
            free_used=free_used,
            used=used,
        )
    return unwritten + debtors


def payable_query(scope: RunScope, users: sql.Composable, run_id: int | None) -> sql.Composed:
    """Returns the query of the debts of ``users`` (a condition) that credit can settle now, with the values of their
    rows (in units of 10^-10)."""
    credits, settings = scope.credits, scope.settings
    nothing = sql.SQL("NULL::numeric").format()
    rated = any(mode == "rated" for mode in scope.month_records.modes.values())
    # Composed: which columns exist, and whether any month is rated, varies.
    cost = sql.SQL("CASE WHEN m.cost_mode = 'rated' THEN u.total_cost::numeric END").format() if rated else nothing
    shown, drawn = nothing, nothing
    if credits.writes_deducted:
        shown, drawn = sql.SQL("u.credits_deducted::numeric").format(), sql.SQL("w.drawn").format()
    return compose(
        "debts.payable",
        settings,
        deducted=deducted_expression() if credits.writes_deducted else nothing,
        ledger_hash=fingerprints.written_hash(cost, drawn),
        written_hash=fingerprints.written_hash(cost, shown),
        unit=sql.Literal(unscaled(scope.credit_rules.unit)),
        users=users,
        reported=_reported_condition(scope),
        computed=sql.Literal(sorted(scope.window.months)),
        run_id=sql.Literal(run_id),
    )


def _open_days_condition(scope: RunScope) -> sql.Composed:
    """Returns the condition for days of open months whose draws a run computes: those before `credits.start` stay."""
    # A condition: the months and `credits.start` vary.
    days, start = in_spans("usage_date", month_spans(scope.window.open)), scope.credit_rules.start
    return days if start is None else sql.SQL("{} AND usage_date >= {}").format(days, start)


def _reported_condition(scope: RunScope) -> sql.SQL:
    """Returns the condition that a row, ``u``, was reported (invoiced) already; the column may not exist."""
    return sql.SQL("u.reported_to_stripe IS TRUE" if scope.credits.has_reported else "false")


@dataclass(frozen=True, slots=True)
class Debt:
    """The uncovered part of a usage row when its month closed: ``amount``, and how much of it was ``settled`` by later
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
        """The amount that is still owed."""
        return self.amount - self.settled - self.written_off


def read_debts(connection: Connection, settings: Settings, user: str | None = None) -> list[Debt]:
    """Returns the debts of closed months (of ``user``; None: of all), by user and day."""
    text = compose("debts.list", settings)
    with connection.cursor(row_factory=class_row(Debt)) as cursor:
        return cursor.execute(text, {"user": user}).fetchall()


def write_off(connection: Connection, settings: Settings, user: str, reason: str, run_id: int) -> None:
    """Writes off the open debts of ``user`` in closed months, in the caller's transaction."""
    text = compose("debts.write_off", settings)
    connection.execute(text, {"user": user, "reason": reason, "run_id": run_id})
