"""The job's own tables: their columns and keys, for the configured meters."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.domain.meters import Meter, cost_of, days_of
from jobs.domain.names import CLUSTER_DAY, CLUSTER_MONTH, NULLABLE_KEYS, USER_DAY, USER_MONTH

AMOUNT = "numeric(38,10) NOT NULL DEFAULT 0"
COUNT = "bigint NOT NULL DEFAULT 0"
MOMENT = "timestamptz NOT NULL DEFAULT now()"
RUN = "bigint NOT NULL"
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


@dataclass(frozen=True, slots=True)
class Table:
    """A table: column definitions by name, and the key columns."""

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]

    @property
    def null_in_key(self) -> bool:
        """Whether the key may have nulls, which are then equal."""
        return not NULLABLE_KEYS.isdisjoint(self.key)

    def kind(self, column: str) -> str:
        """Returns the type of a column, as the DDL writes it."""
        return self.columns[column].split()[0]

    @property
    def computed(self) -> list[str]:
        """The columns that a run computes and compares, without run_id, updated_at and revision."""
        return [name for name in self.columns if name not in ("run_id", "updated_at", "revision")]


def tables(meters: Sequence[Meter]) -> list[Table]:
    """Returns every table of the job's schema for the configured meters."""
    metered = {name: AMOUNT for meter in meters for name in (meter.name, cost_of(meter.name))}
    costs = metered | {"adjustment_cost": AMOUNT, "total_cost": AMOUNT}
    monthly = costs | {days_of(meter.name): AMOUNT for meter in meters if meter.is_level}
    deducted, written = {"credits_deducted": AMOUNT}, {"run_id": RUN, "updated_at": MOMENT}
    cluster_month = _CLUSTER_MONTH | monthly | deducted | {"cost_per_user": AMOUNT} | written
    return [
        Table("user_daily", _USER_DAY | costs | deducted | {"run_id": RUN}, USER_DAY),
        Table("user_monthly", _USER | monthly | _CREDITS | _HASHES | written, USER_MONTH),
        Table("cluster_daily", _CLUSTER_DAY | costs | deducted | written, CLUSTER_DAY),
        Table("cluster_monthly", cluster_month, CLUSTER_MONTH),
        Table("touched_days", _TOUCHED, ("run_id", "batch", "date")),
        Table("credit_draws", _DRAWS, ("usage_daily_id", "user_id", "revision")),
        Table("billing_modes", _MODES, ("user_id", "valid_from")),
        Table("months", _MONTHS, ("month",)),
        Table("rejects", _REJECTS, ("usage_daily_id",)),
        # A row that moved to another month after its own had closed has a debt in both.
        Table("debts", _DEBTS, ("usage_daily_id", "user_id", "usage_date")),
        Table("set_aside", _SET_ASIDE, ("user_id",)),
        Table("overrides_seen", _OVERRIDES_SEEN, ("override_id",)),
        Table("corrections", _CORRECTIONS, ("month", "user_id", "run_id")),
        Table("runs", _RUNS, ("run_id",)),
    ]


def _columns(text: str) -> dict[str, str]:
    """Returns definitions by column; a line of ``text`` is one definition after the columns that have it."""
    lines = [line.strip().partition(": ") for line in text.strip().splitlines()]
    return {name: definition for names, _, definition in lines for name in names.split(", ")}


_USER_DAY = _columns("""
    date: date NOT NULL
    user_id: text NOT NULL
    cluster_id: uuid""")
_USER = _columns(f"""
    month: date NOT NULL
    user_id, currency: text NOT NULL
    billing_mode: text
    days: {COUNT}
    clusters: uuid[]""")
# Null: the row was written before these were computed. A 0 would mean that nothing is owed.
_CREDITS = _columns(f"""
    credits_free, credits_purchased, credits_deducted: {AMOUNT}
    uncovered, amount_due, amount_reported, amount_free: numeric(38,10)""")
_HASHES = _columns("""
    revision: integer NOT NULL DEFAULT 1
    row_count, usage_hash, written_hash: bigint
    rates_hash, overrides_hash, credits_hash: text""")
_CLUSTER_DAY = _columns(f"""
    date: date NOT NULL
    cluster_id: uuid
    cluster_name: text
    users: {COUNT}""")
_CLUSTER_MONTH = _columns(f"""
    month: date NOT NULL
    cluster_id: uuid
    cluster_name: text
    users, active_users, max_users: {COUNT}""")
_TOUCHED = _columns(f"""
    run_id: {RUN}
    batch: integer NOT NULL
    date: date NOT NULL""")
_DRAWS = _columns(f"""
    usage_daily_id: uuid NOT NULL
    user_id: text NOT NULL
    revision: integer NOT NULL
    usage_date: date NOT NULL
    free, purchased: {AMOUNT}
    imported: boolean NOT NULL DEFAULT false
    run_id: {RUN}
    posted_at: timestamptz NOT NULL DEFAULT clock_timestamp()""")
_MODES = _columns(f"""
    user_id: text NOT NULL
    valid_from: date NOT NULL
    mode: text
    run_id: {RUN}""")
_MONTHS = _columns("""
    month: date NOT NULL
    cost_mode: text NOT NULL CHECK (cost_mode IN ('recorded', 'rated'))
    closed_at: timestamptz
    closed_by, row_count, usage_hash: bigint
    rates_hash: text
    total_cost: numeric(38,10)
    fingerprint, currency: text""")
_REJECTS = _columns(f"""
    usage_daily_id: uuid NOT NULL
    reason: text NOT NULL
    row: jsonb NOT NULL
    first_seen, last_seen: {MOMENT}""")
_DEBTS = _columns(f"""
    usage_daily_id: uuid NOT NULL
    user_id: text NOT NULL
    usage_date: date NOT NULL
    amount, settled, written_off: {AMOUNT}
    reason: text
    run_id: {RUN}""")
_SET_ASIDE = _columns(f"""
    user_id: text NOT NULL
    since: {MOMENT}
    reason: text NOT NULL
    run_id: {RUN}""")
_OVERRIDES_SEEN = _columns("""
    override_id: text NOT NULL
    last_active_day: date NOT NULL""")
# Null: the row was written before all but the totals were stored.
_CORRECTIONS = _columns(f"""
    month: date NOT NULL
    user_id: text NOT NULL
    old_total, new_total, old_credits_deducted, new_credits_deducted: numeric(38,10)
    old_uncovered, new_uncovered, old_amount_due, new_amount_due: numeric(38,10)
    old_amount_reported, new_amount_reported: numeric(38,10)
    cause: text NOT NULL
    reason: text
    run_id: {RUN}""")
_RUNS = _columns(f"""
    run_id: bigint GENERATED ALWAYS AS IDENTITY
    kind: text NOT NULL
    window_from, window_to: date NOT NULL
    reason: text
    status: text NOT NULL CHECK (status IN ('running', 'done', 'failed', 'crashed'))
    started_at: {MOMENT}
    finished_at: timestamptz
    rows_read, rows_rejected, rows_changed: bigint
    total_cost, credits: numeric(38,10)
    rates_hash: text
    version: text NOT NULL
    error: text
    plan: jsonb
    who: text
    covered_to: date
    inputs: jsonb
    accounts, overrides: bigint""")

JOB_TABLES = frozenset(table.name for table in tables(()))
