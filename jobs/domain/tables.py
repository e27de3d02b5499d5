"""The job's own tables, as ``tables.sql`` beside has them: columns and keys; the columns of meters are added here.

Whatever needs the key or the columns of a table takes them from here: frames, queries, checks, the DDL, and the names
that no meter may have. The columns that identify a usage row stand here too (USAGE_COLUMNS): roll-ups are grouped by
all but the id.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, NamedTuple

from jobs.domain.meters import Meter, additive_columns, days_of

AMOUNT = "numeric(38,10) NOT NULL DEFAULT 0"
"""The definition of a column of a meter."""
APPEND_ONLY = ("credit_draws", "billing_modes", "corrections")
"""Tables in which a trigger refuses UPDATE, DELETE and TRUNCATE: entries are final."""
IRREPLACEABLE = {
    "credit_draws": ("usage_daily_id", "user_id", "revision", "usage_date", "free", "purchased"),
    "billing_modes": ("user_id", "valid_from", "mode"),
    "months": ("month", "cost_mode", "closed_at"),
    "debts": ("usage_daily_id", "user_id", "usage_date", "amount", "settled", "written_off"),
}
"""By table the columns whose values cannot be computed again."""


class UsageColumn(NamedTuple):
    """A column of usage_daily, and its type."""

    column: str
    kind: Literal["uuid", "text", "date"]


USAGE_COLUMNS = {
    "id": UsageColumn("id", "uuid"),
    "user_id": UsageColumn("user_id", "text"),
    "date": UsageColumn("date", "date"),
    "cluster_id": UsageColumn("hopsworks_cluster_id", "uuid"),
}
"""What is read of every row of usage_daily besides meters, amounts and hashes, by its name in frames. A change of one
of these columns makes the user differ. With a new column give fingerprints.SEED another value: no stored fingerprint
includes it."""
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

    def may_be_null(self, column: str) -> bool:
        return "NOT NULL" not in self.columns[column]

    @property
    def computed(self) -> list[str]:
        """The columns that a run computes and compares, without run_id, updated_at and revision."""
        return [name for name in self.columns if name not in ("run_id", "updated_at", "revision")]

    @property
    def is_roll_up(self) -> bool:
        """Whether the rows are sums of usage rows."""
        return "adjustment_cost" in self.columns


def tables(meters: Sequence[Meter]) -> list[Table]:
    """Returns every table of the job's schema for the configured meters."""
    of_meters = {
        "{costs}": dict.fromkeys(additive_columns(meters), AMOUNT),
        "{level_days}": {days_of(meter.name): AMOUNT for meter in meters if meter.is_level},
    }
    text = files("jobs.domain").joinpath("tables.sql").read_text("utf-8")
    return [_parse_table(each, of_meters) for each in text.split("-- name: ")[1:]]


def _parse_table(text: str, of_meters: dict[str, dict[str, str]]) -> Table:
    name, *lines = text.splitlines()
    columns: dict[str, str] = {}
    for line in (line.rstrip(",") for line in lines if not line.startswith("--")):
        if found := _KEY.fullmatch(line):
            return Table(name, columns, tuple(found[2].split(", ")), found[1] != "PRIMARY KEY")
        column, _, definition = line.partition(" ")
        columns |= of_meters.get(line, {column: definition})
    raise AssertionError(f"domain/tables.sql: {name} has no key")


TABLES = {table.name: table for table in tables(())}
"""The tables without the columns of meters."""
ROLL_UPS = {name: table for name, table in TABLES.items() if table.is_roll_up}
USER_DAY, USER_MONTH = TABLES["user_daily"].key, TABLES["user_monthly"].key
CLUSTER_DAY, CLUSTER_MONTH = TABLES["cluster_daily"].key, TABLES["cluster_monthly"].key
CLUSTER_TABLES = [name for name, table in ROLL_UPS.items() if "user_id" not in table.key]
"""The roll-ups that the end of a run regroups (sums again)."""
