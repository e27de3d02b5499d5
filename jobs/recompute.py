"""What the roll-ups hold, computed again from usage as a run would: the invariants that no sum over tables can tell.

Usage, prices and accounts move on after a run, and that breaks nothing: only user-months are judged of which detection
finds that nothing differs from what they were computed from; the others are counted, and the next run takes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

import polars as pl

from jobs.compute.billing import PREPAID
from jobs.model.scale import unscaled
from jobs.pipeline.allocation import allocate, as_posted, needs_account
from jobs.pipeline.batch_changes import days_target, months_target
from jobs.pipeline.batch_input import BatchInput, of_users, read_input
from jobs.pipeline.batches import Limits, cut
from jobs.pipeline.plan import Plan
from jobs.postgres import detection
from jobs.postgres.detection import Detected
from jobs.postgres.usage_reader import Reader
from jobs.store import accounts
from jobs.store.address import Address
from jobs.store.database import Connection
from jobs.store.laws import Law

PAYING = ("uncovered", "amount_due", "amount_reported", "amount_free", "billing_mode")
WRITTEN_BY_RUNS = {"written_hash", "rates_hash", "overrides_hash", "credits_hash"}
"""Hashes that detection compares already."""
FIRST_TEN = 10
USER_MONTH = ["user_id", "month"]


@dataclass(slots=True)
class Found:
    """What computing again has found: by invariant both sums (units of 10^-10) and culprits, and what could not be
    judged. ``rows``: of months in which nobody differs, rows now and rows as counted by the last run."""

    left: dict[str, int] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)
    culprits: dict[str, list[str]] = field(default_factory=dict)
    same: int = 0
    stale: int = 0
    rows: dict[date, tuple[int, int]] = field(default_factory=dict)

    def add(self, law: str, rows: pl.DataFrame, left: pl.Expr, right: pl.Expr, key: pl.Expr) -> None:
        """Takes rows of which ``left`` must be ``right``."""
        judged = rows.select(left.cast(pl.Int128).alias("left"), right.cast(pl.Int128).alias("right"), key.alias("key"))
        self.left[law] = self.left.get(law, 0) + int(judged["left"].sum())
        self.right[law] = self.right.get(law, 0) + int(judged["right"].sum())
        bad = judged.filter(pl.col("left").ne_missing(pl.col("right")))["key"].sort().to_list()
        self.culprits.setdefault(law, []).extend(bad)

    def laws(self) -> Iterator[Law]:
        """One line per invariant."""
        for law, left in self.left.items():
            counted = law in (SAME, SAME_DAYS)
            shown = (left, self.right[law]) if counted else (unscaled(left), unscaled(self.right[law]))
            bad = sorted(self.culprits[law])
            yield Law(law, shown[0], shown[1], len(bad), tuple(bad[:FIRST_TEN]))
        if self.rows:
            bad = [f"{month:%Y-%m}" for month, (now, counted) in sorted(self.rows.items()) if now != counted]
            now, before = (sum(each[n] for each in self.rows.values()) for n in (0, 1))
            yield Law(ROWS, now, before, len(bad), tuple(bad))


NO_MONTHS = pl.DataFrame(schema={"user_id": pl.String, "month": pl.Date})


@dataclass(frozen=True, slots=True)
class Stale:
    """What detection finds to differ from what was computed: all months of ``users``; user-months whose usage, prices
    or overrides differ (``priced``); and ``months``, user-months of which nothing is judged."""

    users: set[str]
    priced: pl.DataFrame
    months: pl.DataFrame = field(default_factory=lambda: NO_MONTHS)


COSTS, SAME, SAME_DAYS, PAID, OVER, POSTED, ROWS = (
    "1 cost of the rows, priced anew = roll-up",
    "2 user-months, computed anew = roll-up",
    "2 user-days, computed anew = roll-up",
    "3 drawn + uncovered + due + reported = quantized cost",
    "3 drawn of a row <= its part of the cost",
    "5 draws as computed anew = ledger",
    "6 rows now = rows counted, in unchanged months",
)


def recompute(connection: Connection, address: Address, plan: Plan, found: Found, *, draws: bool) -> Detected:
    """Every user's months of ``plan``; ``draws``: the months are one draw window, and the draws are computed, too."""
    months = plan.window.months
    everybody = detection.detect(connection, plan, months, full=True)
    pairs = [(each.user, each.month) for each in detection.differences(connection, plan, months).found]
    priced = pl.DataFrame(pairs, schema=NO_MONTHS.schema, orient="row")
    if draws:
        # What changed in one month of a draw window may move draws in another.
        stale = Stale({work.user for work in detection.detect(connection, plan, months).work}, priced)
    else:
        stale = Stale(set(), priced, months=priced)
    reader, settings = Reader("copy", address), plan.settings
    moved = set()
    for users in cut(everybody.work, Limits(settings.batch_rows, settings.batch_rows)):
        read = read_input(connection, reader, plan, users)
        moved |= _judge(connection, plan, found, read, stale, draws=draws)
    for month in months:
        if month not in moved and month in everybody.months:
            found.rows[month] = everybody.months[month].rows, plan.months.rows.get(month, 0)
    return everybody


def _judge(
    connection: Connection,
    plan: Plan,
    found: Found,
    read: BatchInput,
    stale: Stale,
    *,
    draws: bool,
) -> set[date]:
    """Judges what of ``read`` is not ``stale``; the months in which somebody is."""
    paying = needs_account(read.modes, read.draws)
    held = accounts.read(connection, plan.settings, plan.query.read.credits, paying)
    posted = as_posted(plan, read.rated, read.modes, read.draws)
    computed, due = allocate(plan, read.rated, read.modes, held, read.draws) if draws else (posted, None)
    target = months_target(plan, read, computed)
    every = pl.concat([target.select(USER_MONTH), read.months.select(USER_MONTH)]).unique()
    same = every.filter(~of_users(stale.users & read.users)).join(stale.months, on=USER_MONTH, how="anti")
    found.same += same.height
    found.stale += every.height - same.height
    # Of a closed month, accounts and what was reported have moved on lawfully since.
    left_out = WRITTEN_BY_RUNS | (set() if draws else set(PAYING))
    columns = [name for name in read.months.columns if name not in left_out]
    _judge_months(found, target.join(same, on=USER_MONTH, how="semi"), read.months.select(columns))
    _judge_days(found, plan, computed, read, same)
    mine = posted.with_columns(known=posted["user_id"].cast(pl.String).is_in(held["user_id"].to_list()))
    _judge_rows(found, mine, read.months, same, every.join(stale.priced, on=USER_MONTH, how="anti"))
    if due is not None:
        key = pl.col("user_id") + " " + pl.col("id").map_elements(_uuid, return_dtype=pl.String)
        judged = due.filter(~of_users(stale.users & read.users))
        found.add(POSTED, judged, pl.col("free") + pl.col("purchased"), pl.lit(0), key)
    return set(every.join(same, on=USER_MONTH, how="anti")["month"])


def _judge_days(found: Found, plan: Plan, rows: pl.DataFrame, read: BatchInput, same: pl.DataFrame) -> None:
    columns = read.days.columns
    month = pl.col("date").dt.month_start().alias("month")
    target = days_target(plan, rows).select(columns).with_columns(month).join(same, on=USER_MONTH, how="semi")
    stored = read.days.with_columns(month).join(same, on=USER_MONTH, how="semi")
    equal = stored.join(target, on=[*columns, "month"], how="semi", nulls_equal=True).select(
        "date", "user_id", "cluster_id"
    )
    both = pl.concat([target.select(equal.columns), stored.select(equal.columns)]).unique()
    marked = both.join(equal.with_columns(equal=pl.lit(1)), on=equal.columns, how="left", nulls_equal=True)
    key = pl.col("user_id") + " " + pl.col("date").dt.to_string()
    found.add(SAME_DAYS, marked, pl.lit(1), pl.col("equal").fill_null(0), key)


def _uuid(number: int) -> str:
    return str(UUID(int=number))


def _judge_months(found: Found, target: pl.DataFrame, stands: pl.DataFrame) -> None:
    keys = ["user_id", "month"]
    key = pl.col("user_id") + " " + pl.col("month").dt.strftime("%Y-%m")
    both = target.join(stands, on=keys, suffix="_held")
    found.add(COSTS, both, pl.col("total_cost"), pl.col("total_cost_held"), key)
    columns = [name for name in stands.columns if name not in keys]
    equal = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_held")) for name in columns)
    found.add(SAME, both, pl.lit(1), equal, key)


def _judge_rows(
    found: Found, rows: pl.DataFrame, stands: pl.DataFrame, same: pl.DataFrame, priced: pl.DataFrame
) -> None:
    """Invariant 3 with the draws that are in the ledger; accounts are not asked, so that they may have moved on."""
    keys = ["user_id", "month"]
    every = rows.with_columns(pl.col("user_id").cast(pl.String))
    theirs = every.join(same, on=keys, how="semi")
    drawn, parts = pl.col("free") + pl.col("purchased"), pl.col("part") + pl.col("due_part")
    # Whose account is gone keeps what was booked, and what was reported was invoiced with its draws.
    mine = every.join(priced, on=keys, how="semi").filter(
        (pl.col("class") == PREPAID) & ~pl.col("reported") & pl.col("known")
    )
    key = pl.col("user_id") + " " + pl.col("id").map_elements(_uuid, return_dtype=pl.String)
    found.add(OVER, mine, pl.min_horizontal(drawn, "part"), drawn, key)
    # What was invoiced elsewhere, or drawn by another program, may be more than the row costs now.
    whole = theirs.group_by(keys).agg(pl.max_horizontal(parts, drawn).sum().alias("whole"))
    paid = pl.col("credits_deducted") + pl.col("uncovered") + pl.col("amount_due") + pl.col("amount_reported")
    key = pl.col("user_id") + " " + pl.col("month").dt.strftime("%Y-%m")
    # Months of the first version say nothing of what is due.
    computed = stands.filter(pl.col("uncovered").is_not_null())
    found.add(PAID, whole.join(computed, on=keys), pl.col("whole"), paid, key)
