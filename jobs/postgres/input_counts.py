"""How many accounts and price overrides there are, and how many the last finished run counted."""

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from jobs.postgres.connections import Connection
from jobs.postgres.preflight import SourceCapabilities
from jobs.postgres.sql_loader import app_table, compose, job_table
from jobs.settings import Settings


@dataclass(frozen=True, slots=True)
class InputCounts:
    """Rows of user_credits and of user_pricing_overrides; None where there is no such table, or nothing was counted.

    ``accounts_before``, ``overrides_before``: as the last finished run counted them.
    """

    accounts: int | None = None
    overrides: int | None = None
    accounts_before: int | None = None
    overrides_before: int | None = None

    @property
    def gone(self) -> Iterator[tuple[str, int, int]]:
        """Kind, rows before and rows now, of what has become less."""
        for kind, before, now in (
            ("accounts", self.accounts_before, self.accounts),
            ("overrides", self.overrides_before, self.overrides),
        ):
            if before is not None and before > (now or 0):
                yield kind, before, now or 0


def count_inputs(connection: Connection, settings: Settings, source: SourceCapabilities) -> InputCounts:
    """Counts them, and looks into the run log."""
    tables = {
        "user_credits": source.credits.account is not None,
        "user_pricing_overrides": source.overrides is not None,
    }
    counted = [
        sql.SQL("(SELECT count(*) FROM {})").format(app_table(settings, name)) if is_there else sql.SQL("NULL::bigint")
        for name, is_there in tables.items()
    ]
    text = compose(
        "preflight.count_inputs", accounts=counted[0], overrides=counted[1], runs=job_table(settings, "runs")
    )
    row = connection.execute(text).fetchone()
    return InputCounts() if row is None else InputCounts(*row)
