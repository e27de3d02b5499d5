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
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote, unquote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from jobs.domain.errors import ConfigError
from jobs.domain.meters import DEFAULTS, Kind, Meter
from jobs.domain.names import MOST_BYTES, is_name
from jobs.domain.rate_card import RateCard, parse
from jobs.settings import files
from jobs.settings.database_url import LINE_ENDS, address
from jobs.settings.env_file import choose_database, parse_env, parse_valid_lines

PREFIX = "USAGE_JOBS_"
CONFIG = "USAGE_JOBS_CONFIG"
"""The only variable with that prefix that is not a setting: the path of the settings file."""
ENV_LOCAL = ".env.local"
PATHS = ("embedded", "root_certificate", "rates")
IDENTIFIER = r"^[a-z_][a-z0-9_]{0,49}$"
# A meter's name becomes a column of the roll-ups. These names are columns already.
RESERVED = frozenset(
    {"month", "date", "user_id", "cluster_id", "cluster_name", "currency", "days", "users", "active_users"}
    | {"max_users", "revision", "run_id", "updated_at", "uncovered", "amount_due", "amount_reported"}
    | {"credits_free", "credits_purchased", "credits_deducted"}
    | {"usage_hash", "written_hash", "rates_hash", "overrides_hash", "credits_hash", "total", "adjustment"}
    | {"billing_mode", "clusters", "cluster_text", "row_count", "amount_free", "free_part"}
    # These are columns of the frames in which meters are priced.
    | {"id", "recorded", "rows", "unpriced", "target", "cost_per_user", "month_days"}
    | {"new_user", "new_month", "new_day", "new_cluster", "none", "cluster", "quantity", "price", "per"}
    | {"deducted", "reported", "imported", "class", "part", "due_part", "free", "purchased", "demand", "open"}
    | {"changed", "modes_hash", "account_hash", "is_usable", "is_paying"}
    | {"has_account", "valid_from", "mode", "granted", "bought", "used", "free_used", "posted", "drawn"}
    | {f"{kind}_{lot}" for kind in ("ledger", "imported", "fixed") for lot in ("free", "purchased")}
    | {f"{lot}_{kind}" for kind in ("left", "drawn") for lot in ("free", "purchased")}
)
# Fields of Settings that this module computes. There are no settings with these names.
INTERNAL = {"source", "address", "rate_card", "is_rates_set", "warning"}
# Settings that cannot change any figure: they affect only where and how fast a run computes.
WITHOUT_FIGURES = {"batch_rows", "batch_writes", "workers", "reader", "schedule", "watch_months"}
WITHOUT_FIGURES |= {"embedded", "root_certificate"}
MOST_METERS = 100
"""A row of user_monthly has three numbers of 23 bytes for each meter and must fit into a page of 8 kB."""
M = TypeVar("M", bound=BaseModel)


def _month(value: object) -> object:
    """``value`` as a day: a month such as 2026-06 becomes its first day, any other value is returned unchanged."""
    text = value.isoformat() if isinstance(value, date) else value
    return f"{text}-01" if isinstance(text, str) and len(text) == len("2026-06") else text


def _validate_schema(name: str) -> str:
    if not is_name(name) or name.startswith("pg_"):
        raise PydanticCustomError("schema", f"expected the name of a schema: at most {MOST_BYTES} bytes, no $, not pg_")
    return name


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
        given = {key: value for key, value in self.model_dump().items() if value is not None}
        return Meter(**{**{key: getattr(default, key) for key in Meter.__slots__}, **given})


class CreditSettings(BaseModel):
    """The [credits] table.

    ``start``: the first day whose usage draws credits. ``feature_flag``: a prepaid user without this flag is postpaid.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    start: Annotated[date | None, BeforeValidator(_month)] = None
    feature_flag: str | None = Field(default=None, min_length=1)


class ScheduleSettings(BaseModel):
    """The [schedule] table: cron expressions in UTC (empty: never), and the HOST:PORT of the HTTP endpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    nightly: str = "30 2 * * *"
    reconcile: str = "0 5 * * sun"
    listen: str = "127.0.0.1:9464"


class Settings(BaseModel):
    """All that a run depends on besides the clock and the database; config/settings.toml documents each setting."""

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
    start: Annotated[date | None, BeforeValidator(_month)] = None
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
        values = self.model_dump(by_alias=True, exclude=INTERNAL | WITHOUT_FIGURES | {"rates", "meters"})
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


NESTED: dict[str, type[BaseModel]] = {"credits": CreditSettings, "schedule": ScheduleSettings}


def passwords(env: Mapping[str, str], cwd: Path) -> list[str]:
    """Every password in ``env`` and .env.local, in each form in which it may appear, longest first: for scrubbing."""
    variables = {**parse_valid_lines(files.read_if_exists(cwd / ENV_LOCAL)), **env}
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
    local = parse_env(files.read(env_file, ENV_LOCAL), str(env_file)) if env_file.exists() else {}
    variables = {**local, **env}
    named = config or variables.get(CONFIG)
    file = files.find_settings(cwd) if named is None else cwd / named
    values = files.read_toml(file)
    origins = _overlay(values, variables)
    meters = _make_meters(file, values.pop("meters", {name: {} for name in DEFAULTS}), origins)
    _reject_internal(file, values)
    values["is_rates_set"] = "rates" in values
    values.setdefault("rates", "rates.csv")
    for name in values.keys() & PATHS:
        # A path in the settings file is relative to that file; one in a variable is relative to the working directory.
        values[name] = (cwd if name in origins else file.parent) / str(values[name])
    rates = values["rates"]
    card = parse(files.read(rates, "rates"), files.display_path(rates, cwd), [meter.name for meter in meters])
    database, warning = choose_database(env, local)
    values |= {"meters": meters, "rate_card": card, "source": str(file), "warning": warning}
    values["address"] = address(database, values.get("root_certificate"))
    settings = _validate(Settings, values, file, origins)
    _reject_shared_schema(settings, origins.get("schema", str(file)))
    return settings


def _reject_shared_schema(settings: Settings, where: str) -> None:
    """Raises ConfigError if both schemas are the same: grants on all of our tables would cover the application's."""
    if settings.rollup_schema == settings.source_schema:
        raise ConfigError(
            f"{where}: schema = {settings.rollup_schema!r}: expected another schema than that of the application's "
            f"tables (source_schema = {settings.source_schema!r}), for the job's own tables; the default is 'rollup'"
        )


def _overlay(values: dict[str, Any], env: Mapping[str, str]) -> dict[str, str]:
    """Sets the value of each USAGE_JOBS_… variable in ``values``; returns the variables' names by dotted key."""
    origins = {}
    for name in sorted(env):
        if not name.startswith(PREFIX) or name == CONFIG:
            continue
        *tables, key = name.removeprefix(PREFIX).lower().split("__")
        if tables[:1] == ["meters"] and "meters" not in values:
            values["meters"] = {meter: {} for meter in DEFAULTS}
        target = values
        for table in tables:
            target = target.setdefault(table, {})
            if not isinstance(target, dict):
                raise ConfigError(f"{name}: {'.'.join(tables)} is a value, not a table of settings")
        target[key] = env[name]
        origins[".".join([*tables, key])] = name
    return origins


def _make_meters(file: Path, tables: object, origins: Mapping[str, str]) -> tuple[Meter, ...]:
    if not isinstance(tables, dict) or not tables:
        raise ConfigError(f"{file}: meters: expected tables such as [meters.cpu_hours]; found {tables!r}")
    if len(tables) > MOST_METERS:
        raise ConfigError(
            f"{file}: expected at most {MOST_METERS} meters: a row of user_monthly has three numbers of each, and must "
            f"fit into a page of the server (8 kB); found {len(tables)} tables [meters.NAME]"
        )
    meters = []
    for name, table in tables.items():
        if not re.fullmatch(IDENTIFIER, name) or _is_reserved(name):
            raise ConfigError(
                f"{file}: [meters.{name}]: expected lower-case letters, digits and _ (at most 50), not beginning "
                f"with override_ nor ending in _cost or _days, and none of {', '.join(sorted(RESERVED))}: the name "
                "becomes a column beside the job's own columns"
            )
        meters.append(_validate(MeterSettings, table, file, origins, ("meters", name)).meter(name))
    return tuple(meters)


def _is_reserved(name: str) -> bool:
    """Whether a meter of this name would collide with one of the job's own columns."""
    return name in RESERVED or name.endswith(("_cost", "_days")) or name.startswith("override_")


def _reject_internal(file: Path, values: Mapping[str, Any]) -> None:
    """Raises ConfigError if ``values`` sets a field that this module computes."""
    for key in (*sorted(INTERNAL), "rollup_schema"):
        if key in values:
            remedy = "take it out" + (": the address belongs in DATABASE_URL" if key == "address" else "")
            raise ConfigError(f"{file}: {key}: unknown setting; {remedy}")


def _validate(model: type[M], values: object, file: Path, origins: Mapping[str, str], at: tuple[str, ...] = ()) -> M:
    """``values`` as a ``model``; ``at``: their path in the file. Raises ConfigError for the first invalid value."""
    try:
        return model.model_validate(values)
    except ValidationError as mistakes:
        first = mistakes.errors()[0]
        key = ".".join((*at, *(str(part) for part in first["loc"])))
        where = origins.get(key, str(file))
        if first["type"] == "extra_forbidden":
            of = NESTED.get(str(first["loc"][0]), model) if len(first["loc"]) > 1 else model
            known = sorted({field.alias or name for name, field in of.model_fields.items()} - INTERNAL)
            raise ConfigError(f"{where}: {key}: unknown setting; expected one of {', '.join(known)}") from None
        raise ConfigError(f"{where}: {key} = {first['input']!s}: {_remedy(first['msg'])}") from None


def _remedy(message: str) -> str:
    """The message of pydantic in the style of ours: "expected …"."""
    text = message[:1].lower() + message[1:]
    return text.replace("input should be", "expected").replace("value should", "expected to")
