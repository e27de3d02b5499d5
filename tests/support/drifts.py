"""What the job uses of a database, every way in which one table or column of it may have drifted, and what must follow.

An oracle of its own, written from the design alone; nothing here is imported from jobs/.
"""

from collections.abc import Iterator
from dataclasses import dataclass

NUMERIC, AMOUNT = "numeric", "numeric(38,10)"
QUANTITIES = {
    **dict.fromkeys(("cpu_hours", "gpu_hours", "storage_gb"), NUMERIC),
    **dict.fromkeys(("feature_store_api_calls", "model_inference_calls"), "integer"),
}
ROW = {"id": "uuid", "user_id": "text", "date": "date", "hopsworks_cluster_id": "uuid", "total_cost": NUMERIC}
OPENCOST = dict.fromkeys(
    ("opencost_cpu_hours", "opencost_gpu_hours", "opencost_ram_gb_hours", "online_storage_gb", "offline_storage_gb"),
    NUMERIC,
) | {"network_egress_gb": NUMERIC}
ALWAYS = {
    "hopsworks_clusters": {"id": "uuid", "name": "text"},
    "users": {"id": "text", "billing_mode": "text"},
    "user_credits": {"user_id": "text"}
    | dict.fromkeys(("total_purchased", "total_used", "free_credits_granted", "free_credits_used"), NUMERIC),
}
HISTORY = {
    "credit_transactions": {"user_id": "text", "type": "text"}
    | dict.fromkeys(("amount", "balance_before", "balance_after"), NUMERIC)
    | {"description": "text", "created_at": "timestamptz", "metadata": "jsonb"},
}
OVERRIDE = dict.fromkeys(("override_price", "discount_percentage"), NUMERIC) | {
    "id": "uuid",
    "user_id": "text",
    "resource_type": "text",
    "valid_until": "timestamptz",
    "created_at": "timestamptz",
}
SOURCE = {
    "a": {
        "usage_daily": ROW | QUANTITIES | {"credits_deducted": NUMERIC},
        **ALWAYS,
        **HISTORY,
        "user_pricing_overrides": OVERRIDE | {"valid_from": "timestamptz"},
    },
    "b": {
        "usage_daily": ROW
        | QUANTITIES
        | {"instance_hours": NUMERIC, "credits_deducted": NUMERIC, "reported_to_stripe": "boolean"},
        **ALWAYS,
        **HISTORY,
        "user_pricing_overrides": OVERRIDE | {"active": "boolean"},
    },
    "c": {"usage_daily": ROW | OPENCOST, **ALWAYS},
}
"""Columns and their types that the job uses of the application's tables, by shape."""

METERS = {
    **dict.fromkeys("ab", (*QUANTITIES, "instance_hours", "memory_gb_hours")),
    "c": ("cpu_hours", "gpu_hours", "ram_gb_hours", "online_storage_gb", "offline_storage_gb", "network_egress_gb"),
}
"""The names of the configured meters: each is two columns of the roll-ups."""
LEVELS = {**dict.fromkeys("ab", ("storage_gb",)), "c": ("online_storage_gb", "offline_storage_gb")}
"""Those that are a stock: their daily quantities are summed up beside the months' GB-months."""
WRITTEN = {"run_id": "bigint", "updated_at": "timestamptz"}
CREDITS = dict.fromkeys(
    ("credits_free", "credits_purchased", "credits_deducted", "uncovered", "amount_due", "amount_reported"), AMOUNT
) | {"amount_free": AMOUNT}


def own(shape: str) -> dict[str, dict[str, str]]:
    """The columns of the job's own tables, and their types."""
    meters = METERS[shape]
    costs = [*meters, *(f"{meter}_cost" for meter in meters), "adjustment_cost", "total_cost"]
    metered = dict.fromkeys(costs, AMOUNT)
    monthly = metered | {f"{level}_days": AMOUNT for level in LEVELS[shape]}
    cluster = {"cluster_id": "uuid", "cluster_name": "text", "users": "bigint"}
    return {
        "user_daily": {"date": "date", "user_id": "text", "cluster_id": "uuid"}
        | metered
        | {"credits_deducted": AMOUNT, "run_id": "bigint"},
        "user_monthly": {"month": "date", "user_id": "text", "currency": "text", "billing_mode": "text"}
        | {"days": "bigint", "clusters": "uuid[]"}
        | monthly
        | CREDITS
        | {"revision": "integer", "row_count": "bigint", "usage_hash": "bigint", "written_hash": "bigint"}
        | dict.fromkeys(("rates_hash", "overrides_hash", "credits_hash"), "text")
        | WRITTEN,
        "cluster_daily": {"date": "date"} | cluster | metered | {"credits_deducted": AMOUNT} | WRITTEN,
        "cluster_monthly": {"month": "date"}
        | cluster
        | {"active_users": "bigint", "max_users": "bigint", "cost_per_user": AMOUNT}
        | monthly
        | {"credits_deducted": AMOUNT}
        | WRITTEN,
        **LEDGERS,
    }


LEDGERS = {
    "touched_days": {"run_id": "bigint", "batch": "integer", "date": "date"},
    "credit_draws": {"usage_daily_id": "uuid", "user_id": "text", "revision": "integer", "usage_date": "date"}
    | {"free": AMOUNT, "purchased": AMOUNT, "imported": "boolean", "run_id": "bigint", "posted_at": "timestamptz"},
    "billing_modes": {"user_id": "text", "valid_from": "date", "mode": "text", "run_id": "bigint"},
    "months": {"month": "date", "cost_mode": "text", "closed_at": "timestamptz", "closed_by": "bigint"}
    | {"row_count": "bigint", "usage_hash": "bigint", "rates_hash": "text", "total_cost": AMOUNT}
    | {"fingerprint": "text", "currency": "text"},
    "rejects": {"usage_daily_id": "uuid", "reason": "text", "row": "jsonb"}
    | dict.fromkeys(("first_seen", "last_seen"), "timestamptz"),
    "corrections": {"month": "date", "user_id": "text", "old_total": AMOUNT, "new_total": AMOUNT}
    | {
        f"{when}_{name}": AMOUNT
        for name in ("credits_deducted", "uncovered", "amount_due", "amount_reported")
        for when in ("old", "new")
    }
    | {"cause": "text", "reason": "text", "run_id": "bigint"},
    "runs": {"run_id": "bigint", "kind": "text", "window_from": "date", "window_to": "date", "reason": "text"}
    | {"status": "text", "started_at": "timestamptz", "finished_at": "timestamptz"}
    | dict.fromkeys(("rows_read", "rows_rejected", "rows_changed"), "bigint")
    | {"total_cost": AMOUNT, "credits": AMOUNT, "rates_hash": "text", "version": "text", "error": "text"}
    | {"plan": "jsonb", "who": "text"},
}
"""Those of our own tables whose columns are the same whatever the meters."""

RETYPED = {
    "numeric": ("double precision", "real", "text", "money", "bigint", "numeric(12,2)", "amount"),
    AMOUNT: ("double precision", "text", "money", "bigint", "numeric(12,2)"),
    "integer": ("bigint", "smallint", "numeric", "double precision", "text"),
    "bigint": ("numeric", "double precision", "text"),
    "date": ("timestamptz", "timestamp", "text"),
    "timestamptz": ("timestamp", "date", "text", "bigint"),
    "uuid": ("text", "varchar(36)", "bytea"),
    "uuid[]": ("text[]", "text"),
    "text": ("varchar(200)", "char(40)", "uuid", "jsonb"),
    "boolean": ("text", "integer"),
    "jsonb": ("json", "text"),
}
"""What a column of a type has been met as; ``amount`` is a domain over numeric(12,2)."""
EXACT_AS = {"numeric": {"bigint", "numeric(12,2)"}, "integer": {"bigint", "smallint", "numeric"}}
"""Types in which a quantity or an amount is as exact as before: there is nothing to refuse."""
BINARY = ("double precision", "real")
"""Types of which a quantity is taken as the shortest decimal that stands for it."""
MEASURED = QUANTITIES.keys() | OPENCOST.keys() | {"instance_hours"}
"""The columns of usage_daily that hold a quantity."""
FRACTIONS = {"total_cost", "credits_deducted", "total_used", "free_credits_used", "amount", "balance_before"} | {
    *("balance_after", "override_price", "total_purchased")
}
"""Columns that whole numbers cannot hold; total_purchased could, but declares a ledger without decimals then."""
OTHER_WORDS = {
    "timestamptz": "timestamp with time zone",
    "timestamp": "timestamp without time zone",
    "varchar(200)": "character varying",
    "varchar(36)": "character varying",
    "char(40)": "character",
}


@dataclass(frozen=True)
class Drift:
    """``how``: "dropped", "renamed", "a view", or the type that it has now; without a column it is the whole table."""

    shape: str
    table: str
    column: str | None
    kind: str
    how: str

    def __str__(self) -> str:
        return f"{self.shape}-{self.subject}-{self.how}".replace(" ", "_")

    @property
    def subject(self) -> str:
        return self.table if self.column is None else f"{self.table}.{self.column}"

    @property
    def names(self) -> tuple[str, ...]:
        """By which it may be told: where neither variant of an override is left, either may be what lacks."""
        variant = self.is_gone and self.subject == "user_pricing_overrides.active"
        return (self.subject, "user_pricing_overrides.valid_from") if variant else (self.subject,)

    @property
    def is_gone(self) -> bool:
        return self.how in ("dropped", "renamed")

    @property
    def is_own(self) -> bool:
        return self.table.startswith("rollup.")

    @property
    def is_rollup(self) -> bool:
        """Whether all of the table can be computed from usage."""
        return self.table in (
            *("rollup.user_daily", "rollup.user_monthly"),
            *("rollup.cluster_daily", "rollup.cluster_monthly"),
        )

    @property
    def is_exact(self) -> bool:
        """Whether the application's values can be taken as before."""
        if self.is_own:
            return False
        if self.table == "usage_daily" and (self.how == "a view" or (self.column in MEASURED and self.how in BINARY)):
            return True
        return self.how in EXACT_AS.get(self.kind, ()) or self.how == "varchar(200)"

    @property
    def found(self) -> str:
        """How `check` says what is there."""
        if self.is_gone:
            return "no such table" if self.column is None else "no such column"
        return "2 decimals" if self.is_own and self.how == "numeric(12,2)" else OTHER_WORDS.get(self.how, self.how)


def drifts(shape: str) -> Iterator[Drift]:
    """Everything that can befall a database of a shape, one thing at a time."""
    for table, columns in (SOURCE[shape] | {f"rollup.{name}": held for name, held in own(shape).items()}).items():
        yield from (Drift(shape, table, None, "", how) for how in ("dropped", "renamed", "a view"))
        for column, kind in columns.items():
            for how in ("dropped", "renamed", *RETYPED[kind]):
                fits = how != "bigint" or column not in FRACTIONS
                if fits and (table, column, how) != ("users", "id", "uuid"):  # other ids are other users
                    yield Drift(shape, table, column, kind, how)


def named(subject: str, how: str, shape: str = "a") -> Drift:
    """One drift, of a table or of a TABLE.COLUMN."""
    [found] = [drift for drift in drifts(shape) if (drift.subject, drift.how) == (subject, how)]
    return found


def statement(drift: Drift) -> str:
    """The SQL that makes a database drift so."""
    table, column = drift.table, f'"{drift.column}"'
    if drift.column is None and drift.how == "dropped":
        return f"DROP TABLE {table} CASCADE;"
    if drift.column is None:
        schema, _, name = table.rpartition(".")
        view = f"CREATE VIEW {table} AS SELECT * FROM {schema or 'public'}.aside_{name};"
        return f"ALTER TABLE {table} RENAME TO aside_{name};" + (view if drift.how == "a view" else "")
    if drift.how == "dropped":
        return f"ALTER TABLE {table} DROP COLUMN {column} CASCADE;"
    if drift.how == "renamed":
        return f"ALTER TABLE {table} RENAME COLUMN {column} TO aside;"
    retyped = f"ALTER TABLE {table} ALTER {column} TYPE {drift.how} USING {_using(drift, column)};"
    return UNBOUND.format(table=table, column=column) + retyped


UNBOUND = """
DO $$ DECLARE found record; BEGIN
  IF to_regtype('amount') IS NULL THEN CREATE DOMAIN amount AS numeric(12,2); END IF;
  -- What stands in the way of another type: references, checks, generated columns, partial indexes, defaults.
  FOR found IN SELECT conrelid::regclass AS place, conname FROM pg_constraint
    WHERE contype = 'f' OR (contype = 'c' AND conrelid = '{table}'::regclass) LOOP
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.place, found.conname);
  END LOOP;
  FOR found IN SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attgenerated <> '' LOOP
    EXECUTE format('ALTER TABLE {table} DROP COLUMN %I', found.attname);
  END LOOP;
  FOR found IN SELECT indexrelid::regclass AS place FROM pg_index
    WHERE indrelid = '{table}'::regclass AND (indpred IS NOT NULL OR NOT indisunique) LOOP
    EXECUTE format('DROP INDEX %s', found.place);
  END LOOP;
END $$;
ALTER TABLE {table} ALTER COLUMN {column} DROP IDENTITY IF EXISTS;
ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT;
"""


def _using(drift: Drift, column: str) -> str:
    """The values in the other type, none of them changed where that type can hold them."""
    utc = f"({column} AT TIME ZONE 'UTC')"
    ways = {
        ("date", "timestamptz"): f"({column}::text || ' 00:00+00')::timestamptz",
        ("timestamptz", "timestamp"): utc,
        ("timestamptz", "date"): f"{utc}::date",
        ("timestamptz", "text"): f"{utc}::text || '+00'",
        ("timestamptz", "bigint"): f"extract(epoch FROM {column})::bigint",
        ("uuid", "bytea"): f"decode(replace({column}::text, '-', ''), 'hex')",
        ("text", "jsonb"): f"to_jsonb({column})",
        ("text", "uuid"): f"md5({column})::uuid",
        ("boolean", "integer"): f"{column}::integer",
    }
    if drift.how in ("bigint", "money"):
        return ways.get((drift.kind, drift.how), f"{column}::numeric::{drift.how}")
    return ways.get((drift.kind, drift.how), f"{column}::text::{drift.how}")
