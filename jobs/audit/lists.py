"""What is read from the job's own tables to be shown: the run log, debts, and how far usage is covered."""

from datetime import date
from typing import Any

from jobs.postgres import (
    run_log,
    server_clock,
)
from jobs.postgres.connections import linked, transaction
from jobs.postgres.conninfo import Address
from jobs.postgres.debts import Debt, listed
from jobs.postgres.errors import retried
from jobs.settings import Settings


def runs(settings: Settings, address: Address, limit: int) -> list[dict[str, Any]]:
    """The run log, newest first."""

    def listed() -> list[dict[str, Any]]:
        with transaction(link.connection) as connection:
            return run_log.listed(connection, settings, limit)

    with linked(address) as link:
        return retried(listed)


def debts(settings: Settings, address: Address, user: str | None) -> list[Debt]:
    """What prepaid users owe for closed months, by user and day."""

    def found() -> list[Debt]:
        with transaction(link.connection) as connection:
            return listed(connection, settings, user)

    with linked(address) as link:
        return retried(found)


def covered_until(settings: Settings, address: Address) -> date | None:
    """The last day of the furthest run that is done, by the log; None before the first. Raises PreflightError."""

    def looked() -> date | None:
        with transaction(link.connection) as connection:
            return run_log.done_until(connection, settings, server_clock.today(connection))

    with linked(address) as link:
        return retried(looked)
