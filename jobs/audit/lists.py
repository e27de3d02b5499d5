"""Lists from the job's own tables: the run log, debts, and the last covered day."""

from datetime import date
from typing import Any

from jobs.postgres import run_log, server_clock
from jobs.postgres.connections import query_database
from jobs.postgres.conninfo import Address
from jobs.postgres.debts import Debt, read_debts
from jobs.settings import Settings


def list_runs(settings: Settings, address: Address, limit: int) -> list[dict[str, Any]]:
    """The run log, newest first."""
    return query_database(address, lambda connection: run_log.read_runs(connection, settings, limit))


def list_debts(settings: Settings, address: Address, user: str | None) -> list[Debt]:
    """The debts of prepaid users (``user``: of one of them), by user and day."""
    return query_database(address, lambda connection: read_debts(connection, settings, user))


def read_covered_to(settings: Settings, address: Address) -> date | None:
    """The last covered day by the run log; None before the first run. Raises PreflightError."""
    return query_database(
        address,
        lambda connection: run_log.read_covered_to(connection, settings, server_clock.today(connection)),
    )
