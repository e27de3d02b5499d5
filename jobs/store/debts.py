"""``rollup.debts`` as people see it: what prepaid users owe for closed months, listed and written off."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from psycopg.rows import class_row

from jobs.settings import Settings
from jobs.store.database import Connection
from jobs.store.statements import own, statement


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


def listed(connection: Connection, settings: Settings, user: str | None = None) -> list[Debt]:
    """The debts of closed months (of ``user``), by user and day."""
    text = statement("debts", debts=own(settings, "debts"), months=own(settings, "months"))
    with connection.cursor(row_factory=class_row(Debt)) as cursor:
        return cursor.execute(text, {"user": user}).fetchall()


def write_off(connection: Connection, settings: Settings, user: str, reason: str, run_id: int) -> None:
    """Ends what is open of the debts of ``user`` in closed months, in the caller's transaction."""
    text = statement("write_off_debts", debts=own(settings, "debts"), months=own(settings, "months"))
    connection.execute(text, {"user": user, "reason": reason, "run_id": run_id})
