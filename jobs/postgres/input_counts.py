"""Counts accounts and price overrides, and reads how many the last finished run counted."""

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from jobs.postgres.connections import Connection
from jobs.postgres.preflight import SourceCapabilities
from jobs.postgres.sql_loader import app_table, compose, job_table
from jobs.settings import Settings


@dataclass(frozen=True, slots=True)
class InputCounts:
    """Rows of user_credits and of user_pricing_overrides; None: no such table, or not counted.

    ``accounts_before``, ``overrides_before``: the counts of the last finished run.
    """

    accounts: int | None = None
    overrides: int | None = None
    accounts_before: int | None = None
    overrides_before: int | None = None

    @property
    def decreases(self) -> Iterator[tuple[str, int, int]]:
        """Kind, rows before and rows now, of each count that has decreased."""
        for kind, before, now in (
            ("accounts", self.accounts_before, self.accounts),
            ("overrides", self.overrides_before, self.overrides),
        ):
            if before is not None and before > (now or 0):
                yield kind, before, now or 0


def count_inputs(connection: Connection, settings: Settings, source: SourceCapabilities) -> InputCounts:
    """Counts the rows of both tables, and reads the counts of the last finished run."""
    tables = {
        "user_credits": source.credits.account is not None,
        "user_pricing_overrides": source.overrides is not None,
    }
    # A table that does not exist cannot be named in the query.
    counted = [
        sql.SQL("(SELECT count(*) FROM {})").format(app_table(settings, name)) if is_there else sql.SQL("NULL::bigint")
        for name, is_there in tables.items()
    ]
    text = compose(
        "preflight.count_inputs", accounts=counted[0], overrides=counted[1], runs=job_table(settings, "runs")
    )
    row = connection.execute(text).fetchone()
    return InputCounts() if row is None else InputCounts(*row)
