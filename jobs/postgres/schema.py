"""The job's own tables for the configured meters: their columns and keys, which stand in ``sql/tables.sql``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.domain.meters import Meter, cost_of, days_of
from jobs.postgres.sql_loader import read_queries

AMOUNT = "numeric(38,10) NOT NULL DEFAULT 0"
"""The definition of a column of a meter."""
APPEND_ONLY = ("credit_draws", "billing_modes", "corrections")
"""Tables in which a trigger refuses UPDATE, DELETE and TRUNCATE: entries are final."""
ROLL_UPS = ("user_daily", "user_monthly", "cluster_daily", "cluster_monthly")
IRREPLACEABLE = {
    "credit_draws": ("usage_daily_id", "user_id", "revision", "usage_date", "free", "purchased"),
    "billing_modes": ("user_id", "valid_from", "mode"),
    "months": ("month", "cost_mode", "closed_at"),
    "debts": ("usage_daily_id", "user_id", "usage_date", "amount", "settled", "written_off"),
}
"""By table the columns whose values cannot be computed again."""
_KEY = re.compile(r"(PRIMARY KEY|UNIQUE NULLS NOT DISTINCT) \((.+)\)")


@dataclass(frozen=True, slots=True)
class Table:
    """A table: column definitions by name, the key columns, and whether these may be null (nulls are then equal)."""

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]
    null_in_key: bool

    def kind(self, column: str) -> str:
        """Returns the type of a column, as the DDL writes it."""
        return self.columns[column].split()[0]

    @property
    def computed(self) -> list[str]:
        """The columns that a run computes and compares, without run_id, updated_at and revision."""
        return [name for name in self.columns if name not in ("run_id", "updated_at", "revision")]


def tables(meters: Sequence[Meter]) -> list[Table]:
    """Returns every table of the job's schema for the configured meters."""
    metered = [name for meter in meters for name in (meter.name, cost_of(meter.name))]
    of_meters = {
        "{costs}": dict.fromkeys([*metered, "adjustment_cost", "total_cost"], AMOUNT),
        "{level_days}": {days_of(meter.name): AMOUNT for meter in meters if meter.is_level},
    }
    return [_parse_table(name, lines, of_meters) for name, lines in read_queries("tables").items()]


def _parse_table(name: str, lines: str, of_meters: dict[str, dict[str, str]]) -> Table:
    columns: dict[str, str] = {}
    for line in (line.rstrip(",") for line in lines.splitlines() if not line.startswith("--")):
        if found := _KEY.fullmatch(line):
            return Table(name, columns, tuple(found[2].split(", ")), found[1] != "PRIMARY KEY")
        column, _, definition = line.partition(" ")
        columns |= of_meters.get(line, {column: definition})
    raise AssertionError(f"sql/tables.sql: {name} has no key")
