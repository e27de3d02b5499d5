"""Lists from the job's own tables: the run log, debts, and the last covered day."""

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

    def read() -> list[dict[str, Any]]:
        with transaction(link.connection) as connection:
            return run_log.read_runs(connection, settings, limit)

    with open_link(address) as link:
        return retry(read)


def list_debts(settings: Settings, address: Address, user: str | None) -> list[Debt]:
    """The debts of prepaid users (``user``: of one of them), by user and day."""

    def read() -> list[Debt]:
        with transaction(link.connection) as connection:
            return read_debts(connection, settings, user)

    with open_link(address) as link:
        return retry(read)


def last_covered_day(settings: Settings, address: Address) -> date | None:
    """The last covered day by the run log; None before the first run. Raises PreflightError."""

    def read() -> date | None:
        with transaction(link.connection) as connection:
            return run_log.read_last_completed_day(connection, settings, server_clock.today(connection))

    with open_link(address) as link:
        return retry(read)
