"""Settings: the only package that reads the environment and configuration files; nothing is read at import.

Precedence: USAGE_JOBS_… in the environment, the same in .env.local, the settings file, the defaults.

A file with any mistake is rejected as a whole. Every mistake raises ConfigError (exit 2) naming the file and line, or
the variable; the key; the value; and the remedy.
"""

import json
import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from jobs.domain.errors import ConfigError
from jobs.domain.meters import DEFAULTS, Meter
from jobs.domain.rate_card import RateCard, parse
from jobs.domain.wording import MOST_BYTES, is_name
from jobs.settings import files
from jobs.settings.database_url import LINE_ENDS, address, choose_database
from jobs.settings.tables import (
    COMPUTED_FIELDS,
    CreditSettings,
    Day,
    ReportSettings,
    ScheduleSettings,
    make_meters,
    validate,
)

PREFIX = "USAGE_JOBS_"
CONFIG = "USAGE_JOBS_CONFIG"
"""The only variable with that prefix that is not a setting: the path of the settings file."""
ENV_LOCAL = ".env.local"
PATHS = ("embedded", "root_certificate", "rates", "reports.logo", "reports.template", "schedule.reports")
CHANGE_NO_FIGURE = {"batch_rows", "batch_writes", "workers", "reader", "schedule", "watch_months"}
CHANGE_NO_FIGURE |= {"embedded", "root_certificate", "reports"}
"""Settings that cannot change any figure: they affect only where and how fast a run computes."""


def _validate_schema(name: str) -> str:
    if not is_name(name) or name.startswith("pg_"):
        raise PydanticCustomError("schema", f"expected the name of a schema: at most {MOST_BYTES} bytes, no $, not pg_")
    return name


class Settings(BaseModel):
    """All that a run depends on besides the clock and the database; config/settings.toml documents each setting.

    The defaults stand here. Tests fail where settings.toml or the manual (settings) has another one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    cost: Literal["recorded", "rated"] = "recorded"
    zero_means: Literal["unpriced", "free"] = "unpriced"
    tiers: Literal["day", "month"] = "day"
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    currency_scale: int = Field(default=2, ge=0, le=10)
    # Quantities are read as bigint, in units of 10^-10: 9e8 × 10^10 still fits.
    max_quantity: Decimal = Field(default=Decimal(10**8), gt=0, le=Decimal(9 * 10**8), decimal_places=10)
    max_shrink: Decimal = Field(default=Decimal("0.2"), ge=0, le=1)
    max_change: Decimal = Field(default=Decimal("0.2"), ge=0)
    max_change_amount: Decimal = Field(default=Decimal(100), ge=0)
    close_after_days: int = Field(default=3, ge=0, le=365)
    watch_months: int = Field(default=2, ge=1, le=1200)
    start: Day = None
    batch_rows: int = Field(default=100_000, ge=1)
    batch_writes: int = Field(default=20_000, ge=1)
    rollup_schema: Annotated[str, AfterValidator(_validate_schema)] = Field(default="rollup", alias="schema")
    source_schema: Annotated[str, AfterValidator(_validate_schema)] = "public"
    reader: Literal["auto", "connectorx", "copy"] = "auto"
    workers: int = Field(default=2, ge=1, le=16)
    embedded: Path | None = None
    root_certificate: Path | None = None
    credits: CreditSettings = CreditSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    reports: ReportSettings = ReportSettings()
    rates: Path
    meters: tuple[Meter, ...] = ()
    # Computed by ``load``: the settings file; whether ``rates`` is set or a default; the database's URL, and a warning
    # about the variables it comes from.
    source: str = "the defaults"
    is_rates_set: bool = False
    address: str | None = Field(default=None, repr=False)
    warning: str | None = None
    rate_card: RateCard

    @property
    def first_drawn(self) -> date | None:
        """The first day whose prepaid usage draws credits; None: all days do."""
        return self.credits.start or self.start

    @property
    def inputs(self) -> dict[str, Any]:
        """The settings and prices of a run as rollup.runs stores them.

        These are the paths of both files, every setting that can change a figure, and all prices.
        """
        values = self.model_dump(by_alias=True, exclude=COMPUTED_FIELDS | CHANGE_NO_FIGURE | {"rates", "meters"})
        values |= {f"credits.{key}": value for key, value in values.pop("credits").items()}
        values |= {f"meters.{meter.name}": meter for meter in self.meters}
        texts = {key: None if value is None else _plain(value) for key, value in values.items()}
        files = {"settings_file": self.source, "rates_file": str(self.rates)}
        return files | {"settings": texts, "prices": self.rate_card.listed()}


def _plain(value: object) -> str:
    """The value of a setting as normalized text: 0.20 and 0.2 give the same text."""
    if isinstance(value, Meter):
        optional = " optional" if value.optional else ""
        return f"{value.column} {value.kind} {value.unit}{optional} {' '.join(value.resource_types)}"
    return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)


def passwords(env: Mapping[str, str], cwd: Path) -> list[str]:
    """Every password in ``env`` and .env.local, in each form in which it may appear, longest first: for scrubbing."""
    file = cwd / ENV_LOCAL
    local = file.read_text(encoding="utf-8-sig", errors="replace") if file.is_file() else ""
    variables = {**files.parse_valid_lines(local), **env}
    url = variables.get("DATABASE_URL", "").strip()
    # The same rule as in libpq: up to the last @, whatever characters it has, or in the query; urlsplit rejects some.
    found = [*re.findall(r"(?s)://[^:@/]*:(.*)@", url), *re.findall(r"[?&]password=([^&]*)", url)]
    found.append(variables.get("SUPABASE_DB_PASSWORD", "").rstrip(LINE_ENDS))
    forms = {text for secret in found for text in (secret, unquote(secret), quote(secret, safe="")) if text}
    # A traceback shows values by repr(), and --json escapes them again.
    forms |= {repr(text)[1:-1] for text in forms}
    forms |= {json.dumps(text, ensure_ascii=ascii_)[1:-1] for text in forms for ascii_ in (True, False)}
    return sorted(forms, key=len, reverse=True)


def load(config: Path | None, env: Mapping[str, str], cwd: Path) -> Settings:
    """The settings of the settings file, overridden by .env.local and then by ``env``.

    The file is ``config``, else the one that USAGE_JOBS_CONFIG names, else ./settings.toml, else
    ./config/settings.toml, else the packaged one. Raises ConfigError for a file that cannot be read or has mistakes,
    and for a setting that is unknown or invalid.
    """
    env_file = cwd / ENV_LOCAL
    local = files.parse_env(files.read(env_file, ENV_LOCAL), str(env_file)) if env_file.exists() else {}
    variables = {**local, **env}
    named = config or variables.get(CONFIG)
    file = files.find_settings(cwd) if named is None else cwd / named
    values: dict[str, Any] = {"meters": {name: {} for name in DEFAULTS}} | files.read_toml(file)
    origins = _overlay(values, variables)
    meters = make_meters(file, values.pop("meters"), origins)
    for key in sorted(values.keys() & COMPUTED_FIELDS):
        remedy = "take it out" + (": the address belongs in DATABASE_URL" if key == "address" else "")
        raise ConfigError(f"{file}: {key}: unknown setting; {remedy}")
    values["is_rates_set"] = "rates" in values
    values.setdefault("rates", "rates.csv")
    _resolve_paths(values, origins, file.parent, cwd)
    rates = Path(values["rates"])
    shown = rates.relative_to(cwd) if rates.is_relative_to(cwd) else rates
    card = parse(files.read(rates, "rates"), str(shown), [meter.name for meter in meters])
    database, warning = choose_database(env, local)
    values |= {"meters": meters, "rate_card": card, "source": str(file), "warning": warning}
    values["address"] = address(database, values.get("root_certificate"))
    settings = validate(Settings, values, file, origins)
    # Grants on all of our tables would cover the application's.
    if settings.rollup_schema == settings.source_schema:
        raise ConfigError(
            f"{origins.get('schema', file)}: schema = {settings.rollup_schema!r}: expected another schema than that of "
            f"the application's tables (source_schema = {settings.source_schema!r}), for the job's own tables; the "
            "default is 'rollup'"
        )
    return settings


def _resolve_paths(values: dict[str, Any], origins: Mapping[str, str], folder: Path, cwd: Path) -> None:
    """Makes PATHS absolute: one in the settings file is relative to the file's ``folder``, one in a variable to the
    working directory. An address of fsspec stays as it is."""
    for path in PATHS:
        table, _, name = path.rpartition(".")
        of = values.get(table) if table else values
        if isinstance(of, dict) and of.get(name) and "://" not in str(of[name]):
            of[name] = str((cwd if path in origins else folder) / str(of[name]))


def _overlay(values: dict[str, Any], env: Mapping[str, str]) -> dict[str, str]:
    """Sets the value of each USAGE_JOBS_… variable in ``values``; returns the variables' names by dotted key."""
    origins = {}
    for name in sorted(env):
        if not name.startswith(PREFIX) or name == CONFIG:
            continue
        *tables, key = name.removeprefix(PREFIX).lower().split("__")
        target = values
        for table in tables:
            target = target.setdefault(table, {})
            if not isinstance(target, dict):
                raise ConfigError(f"{name}: {'.'.join(tables)} is a value, not a table of settings")
        target[key] = env[name]
        origins[".".join([*tables, key])] = name
    return origins
