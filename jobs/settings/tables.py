"""The tables of the settings file, [meters.NAME], [credits], [schedule] and [reports], and the validation of values."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from jobs.domain.errors import ConfigError
from jobs.domain.meters import DEFAULTS, Kind, Meter
from jobs.domain.rules import LOTS
from jobs.domain.tables import ROLL_UPS, USAGE_COLUMNS

COMPUTED_FIELDS = {"source", "address", "rate_card", "is_rates_set", "warning"}
"""Fields of Settings that are computed. There are no settings with these names."""
MOST_METERS = 100
"""A row of user_monthly has three numbers of 23 bytes for each meter and must fit into a page of 8 kB."""
IDENTIFIER = r"[a-z][a-z0-9_]{0,49}"
DERIVED = ("_cost", "_days", "_stored")
"""Endings of columns that are made from a column: a meter's cost, its sum over days, and its stored value."""
_OWN_COLUMNS = {column for table in ROLL_UPS.values() for column in table.columns if not column.endswith(DERIVED)}
_OTHER_COLUMNS = """
    recorded deducted reported rows lacks_recorded new_total_cost new_total new_credits_deducted starts_month
    starts_day none cluster quantity price per total adjustment
    imported class prepaid_part due_part open changed modes_hash account_hash is_usable
    has_account valid_from mode free_granted total_purchased free_used total_used drawn
    closed corrections user_name user_email"""
_OF_LOTS = ("{}", "ledger_{}", "imported_{}", "fixed_{}", "{}_left", "{}_drawn")
_LOT_COLUMNS = {pattern.format(lot) for lot in LOTS for pattern in _OF_LOTS}
RESERVED = frozenset(_OWN_COLUMNS | USAGE_COLUMNS.keys() | _LOT_COLUMNS | set(_OTHER_COLUMNS.split()))
"""A meter's name is a column of the roll-ups and of the frames: these are columns already, or would be with _cost.

Columns of overrides begin with override_. Columns that only one function uses begin with _, and a meter's name does
not: so they are not listed."""
M = TypeVar("M", bound=BaseModel)


def _month(value: object) -> object:
    """``value`` as a day: a month such as 2026-06 becomes its first day, any other value is returned unchanged."""
    text = value.isoformat() if isinstance(value, date) else value
    return f"{text}-01" if isinstance(text, str) and len(text) == len("2026-06") else text


Day = Annotated[date | None, BeforeValidator(_month)]


class MeterSettings(BaseModel):
    """One [meters.NAME] table. Missing values come from the built-in meter of that name, if there is one."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    column: str | None = Field(default=None, min_length=1, max_length=63)
    kind: Kind | None = None
    unit: str | None = None
    optional: bool | None = None
    resource_types: tuple[str, ...] | None = None

    def meter(self, name: str) -> Meter:
        default = DEFAULTS.get(name, Meter(name, name, "flow", "", False, (name,)))
        return replace(default, **self.model_dump(exclude_none=True))


class CreditSettings(BaseModel):
    """The [credits] table.

    ``start``: the first day whose usage draws credits. ``feature_flag``: a prepaid user without this flag is postpaid.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    start: Day = None
    feature_flag: str | None = Field(default=None, min_length=1)


class ScheduleSettings(BaseModel):
    """The [schedule] table.

    - ``nightly``, ``reconcile``: cron expressions in UTC; empty: never
    - ``listen``: HOST:PORT of the HTTP endpoint
    - ``reports``: the folder, or the address of fsspec, for reports and exports after a night; empty: none are written
    - ``report_names``: whether these have names and e-mail addresses
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    nightly: str = "30 2 * * *"
    reconcile: str = "0 5 * * sun"
    listen: str = "127.0.0.1:9464"
    reports: str = ""
    report_names: bool = False


class ReportSettings(BaseModel):
    """The [reports] table: who sends statements and reports.

    - ``operator``, ``address``: name and address; each line of the address is shown as a line
    - ``logo``: an SVG, PNG or JPEG file
    - ``template``: a folder whose templates replace those of the package
    - ``provider``, ``billing_account``: in files of the FOCUS format, who provides and invoices the usage, and the
      account that all users belong to
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    operator: str = ""
    address: str = ""
    logo: Path | None = None
    template: Path | None = None
    provider: str = ""
    billing_account: str = ""


def make_meters(file: Path, tables: object, origins: Mapping[str, str]) -> tuple[Meter, ...]:
    """The meters of ``tables``, by name. Raises ConfigError naming ``file``, or the variable in ``origins``."""
    if not isinstance(tables, dict) or not tables:
        raise ConfigError(f"{file}: meters: expected tables such as [meters.cpu_hours]; found {tables!r}")
    if len(tables) > MOST_METERS:
        raise ConfigError(
            f"{file}: expected at most {MOST_METERS} meters: a row of user_monthly has three numbers of each, and must "
            f"fit into a page of the server (8 kB); found {len(tables)} tables [meters.NAME]"
        )
    for name in tables:
        if not re.fullmatch(IDENTIFIER, name) or is_reserved(name):
            raise ConfigError(
                f"{file}: [meters.{name}]: expected lower-case letters, digits and _ (at most 50), beginning with a "
                f"letter but not with override_, not ending in {', '.join(DERIVED[:-1])} or {DERIVED[-1]}, and none of "
                f"{', '.join(sorted(RESERVED))}: the name becomes a column beside the job's own columns"
            )
    given = {name: validate(MeterSettings, table, file, origins, ("meters", name)) for name, table in tables.items()}
    return tuple(table.meter(name) for name, table in given.items())


def is_reserved(name: str) -> bool:
    """Whether a meter of this name would collide with one of the job's own columns."""
    return name in RESERVED or name.endswith(DERIVED) or name.startswith("override_")


def validate(model: type[M], values: object, file: Path, origins: Mapping[str, str], at: tuple[str, ...] = ()) -> M:
    """``values`` as a ``model``; ``at``: their path in the file. Raises ConfigError for the first invalid value."""
    try:
        return model.model_validate(values)
    except ValidationError as mistakes:
        first = mistakes.errors()[0]
        key = ".".join((*at, *(str(part) for part in first["loc"])))
        where = origins.get(key, str(file))
        if first["type"] == "extra_forbidden":
            of: Any = model.model_fields[str(first["loc"][0])].annotation if len(first["loc"]) > 1 else model
            known = sorted({field.alias or name for name, field in of.model_fields.items()} - COMPUTED_FIELDS)
            raise ConfigError(f"{where}: {key}: unknown setting; expected one of {', '.join(known)}") from None
        # The message of pydantic in the style of ours: "expected …".
        remedy = (first["msg"][:1].lower() + first["msg"][1:]).replace("input should be", "expected")
        remedy = remedy.replace("value should", "expected to")
        raise ConfigError(f"{where}: {key} = {first['input']!s}: {remedy}") from None
