"""Adoption: draws that another program made before become part of the ledger, so that no user pays twice."""

from decimal import Decimal
from importlib.metadata import version
from typing import NamedTuple

from psycopg import sql

from jobs.domain.errors import PreflightError
from jobs.domain.rules import LOTS
from jobs.postgres import run_log
from jobs.postgres.connections import Connection, read_dicts, read_value
from jobs.postgres.credit_capabilities import CreditCapabilities
from jobs.postgres.sql_loader import compose, job_table
from jobs.settings import Settings


class Adoption(NamedTuple):
    """The result of an import: rows and amount; and users of whom more was deducted than their account shows as used
    (``excess``: by how much)."""

    rows: int
    total: Decimal
    users_in_excess: int
    excess: Decimal

    @property
    def note(self) -> str:
        """A line for the report of the run."""
        text = f"adopted {self.rows:,} rows on which another program had drawn {self.total:,f} credits"
        if not self.users_in_excess:
            return text
        return (
            f"{text}; of {self.users_in_excess:,} users it deducted {self.excess:,f} more than user_credits says was "
            "used: entered as purchased; correct user_credits if it should count"
        )


def is_due(connection: Connection, settings: Settings, credits: CreditCapabilities) -> bool:
    """Whether no run has written to the ledger yet, so that draws of another program are to be adopted."""
    return credits.writes_deducted and bool(read_value(connection, compose("adoption.is_due", settings)))


def refuse_another_deployment(connection: Connection, settings: Settings, credits: CreditCapabilities) -> None:
    """Raises PreflightError before the first adoption, where runs of another schema have drawn on the same accounts and
    may do so again."""
    if not credits.has_transactions:
        return
    text = compose("adoption.other_deployments", settings, schema=sql.Literal(settings.rollup_schema))
    if row := connection.execute(text).fetchone():
        other, draws = row
        raise PreflightError(
            f"{settings.source_schema}.credit_transactions: expected no draws of another deployment before the first "
            f"run of schema {settings.rollup_schema}; found {draws:,} of schema {other}, and "
            f"{other}.credit_draws is still there. Nothing was written. To go on with that deployment set schema = "
            f'"{other}" in the settings. If it is over, DROP SCHEMA "{other}" CASCADE lets this one adopt its draws'
        )


def adopt(connection: Connection, settings: Settings, credits: CreditCapabilities, *, logged: bool) -> Adoption | None:
    """Imports every row with credits_deducted, in the caller's transaction. Returns None where there is no such row.

    ``logged``: import the rows, with an entry in the run log (kind `adopt`); a dry run only computes the result.
    """
    deducted = compose("ledger.deducted", settings)
    [found] = read_dicts(connection, compose("adoption.adoptable", deducted=deducted))
    if not found["rows"]:
        return None
    draws: sql.Composable = adoptable_draws_query(settings, credits)
    if logged:
        values = {**found, "version": version("usage-jobs")}
        run_id = run_log.insert_numbered(connection, settings, "adoption.insert_run", values)
        connection.execute(compose("adoption.adopt_draws", settings, adoptable=draws), {"run_id": run_id})
        draws = job_table(settings, "credit_draws")
    # Composed: which columns exist differs by database.
    used = sql.SQL("({} + {})").format(*credits.used().values())
    [excess] = connection.execute(compose("adoption.adopted_excess", settings, draws=draws, used=used))
    return Adoption(found["rows"], found["total"], *excess)


def adoptable_draws_query(settings: Settings, credits: CreditCapabilities) -> sql.Composed:
    """Returns the ledger entries that an adoption makes, as a subquery in parentheses: in row order, credits of the
    first lot until its used credits are exhausted, then those of the second."""
    first, second = LOTS
    parts = {"first": sql.Identifier(first), "second": sql.Identifier(second), "first_used": credits.used()[first]}
    deducted = compose("ledger.deducted", settings)
    return compose("adoption.adoptable_draws", settings, deducted=deducted, **parts)
