"""What is read from the job's own tables to be shown: the run log, debts, and how far usage is covered."""

from datetime import date
from typing import Any

from jobs.postgres import (
    run_log,
    server_clock,
)
from jobs.postgres.connections import open_link, transaction
from jobs.postgres.conninfo import Address
from jobs.postgres.debts import Debt, read_debts
from jobs.postgres.errors import retry
from jobs.settings import Settings


def list_runs(settings: Settings, address: Address, limit: int) -> list[dict[str, Any]]:
    """The run log, newest first."""

    def listed() -> list[dict[str, Any]]:
        with transaction(link.connection) as connection:
            return run_log.read_runs(connection, settings, limit)

    with open_link(address) as link:
        return retry(listed)


def list_debts(settings: Settings, address: Address, user: str | None) -> list[Debt]:
    """What prepaid users owe for closed months, by user and day."""

    def found() -> list[Debt]:
        with transaction(link.connection) as connection:
            return read_debts(connection, settings, user)

    with open_link(address) as link:
        return retry(found)


def last_covered_day(settings: Settings, address: Address) -> date | None:
    """The last day of the furthest run that is done, by the log; None before the first. Raises PreflightError."""

    def looked() -> date | None:
        with transaction(link.connection) as connection:
            return run_log.last_completed_day(connection, settings, server_clock.today(connection))

    with open_link(address) as link:
        return retry(looked)
