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
from jobs.domain.tables import USAGE_COLUMNS
from jobs.postgres import fingerprints
from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope
from jobs.postgres.sql_loader import compose, in_spans
from jobs.postgres.usage_query import deducted_expression
from jobs.settings import Settings


def open_totals_query(scope: RunScope) -> sql.Composed:
    """Returns the query of the sum of each user's open debts: a part of credits_hash."""
    return compose("debts.open_totals", scope.settings, rewritten=sorted(scope.window.debt_months))


def debt_users_query(scope: RunScope, *, is_before_close: bool) -> sql.Composed:
    """Returns the parts of the work list that debts add: users whose debts of a closing month are to be written, and
    users with debts that credit can settle. ``is_before_close``: only the first part."""
    credits, window, parts = scope.credits, scope.window, []
    if credits.has_accounts and window.closing:
        parts.append(compose("debts.unwritten", scope.settings, closing=sorted(window.closing)))
    if credits.has_accounts and window.open and not is_before_close:
        # Draws of open months that the run computes: those before `credits.start` stay.
        open_days = in_spans("usage_date", month_spans(window.open))
        if scope.credit_rules.start is not None:
            open_days += sql.SQL(" AND usage_date >= {}").format(scope.credit_rules.start)
        debtors = compose(
            "debts.debtors",
            scope.settings,
            usable=credits.usable(),
            unit=unscaled(scope.credit_rules.unit),
            payable=payable_query(scope, sql.SQL("d.user_id = a.user_id"), None),
            open_days=open_days,
            reported=credits.reported,
            **credits.credits_of_lots(),
            **{f"{lot}_used": used for lot, used in credits.used().items()},
        )
        parts.append(debtors)
    return sql.SQL("").join(parts)


def payable_query(scope: RunScope, users: sql.Composable, run_id: int | None) -> sql.Composed:
    """Returns the query of the debts of ``users`` (a condition) that credit can settle now, with the values of their
    rows (in units of 10^-10)."""
    cost = shown = drawn = deducted = sql.SQL("NULL::numeric").format()
    if scope.rated_months:
        cost = sql.SQL("CASE WHEN m.cost_mode = 'rated' THEN u.total_cost::numeric END").format()
    if scope.credits.writes_deducted:
        shown, drawn = sql.SQL("u.credits_deducted::numeric").format(), sql.SQL("w.drawn").format()
        deducted = sql.SQL("({} * 0.0000000001)").format(deducted_expression())
    return compose(
        "debts.payable",
        scope.settings,
        usage=sql.SQL(", ").join(sql.Identifier("u", column) for column, _ in USAGE_COLUMNS.values()),
        deducted=deducted,
        ledger_hash=fingerprints.written_hash(cost, drawn),
        written_hash=fingerprints.written_hash(cost, shown),
        unit=unscaled(scope.credit_rules.unit),
        users=users,
        reported=scope.credits.reported,
        computed=sorted(scope.window.months),
        run_id=run_id,
    )


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
    with connection.cursor(row_factory=class_row(Debt)) as cursor:
        return cursor.execute(compose("debts.list", settings), {"user": user}).fetchall()


def write_off(connection: Connection, settings: Settings, user: str, reason: str, run_id: int) -> None:
    """Writes off the open debts of ``user`` in closed months, in the caller's transaction."""
    values = {"user": user, "reason": reason, "run_id": run_id}
    connection.execute(compose("debts.write_off", settings), values)
