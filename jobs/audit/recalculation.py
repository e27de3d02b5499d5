"""What the roll-ups hold, computed again from usage as a run would: the invariants that no sum over tables can tell.

Usage, prices and accounts move on after a run, and that breaks nothing: only user-months are judged of which detection
finds that nothing differs from what they were computed from; the others are counted, and the next run takes them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from typing import Any
from uuid import UUID

import polars as pl

from jobs.domain.fixed_point import unscaled
from jobs.domain.schemas import PREPAID
from jobs.domain.work_list import BatchLimits
from jobs.pipeline.batch_changes import days_target, months_target
from jobs.pipeline.batch_input import BatchInput, of_users, read_input
from jobs.pipeline.draw_windows import allocate, apply_window_ledger
from jobs.pipeline.plan import Plan
from jobs.postgres import accounts, detection
from jobs.postgres.connections import Connection
from jobs.postgres.conninfo import Address
from jobs.postgres.detection import Detected
from jobs.postgres.invariants import Law, sides
from jobs.postgres.usage_reader import Reader
from jobs.rollups.user_rollups import USER_DAY

PAYING = ("uncovered", "amount_due", "amount_reported", "amount_free", "billing_mode")
WRITTEN_BY_RUNS = {"written_hash", "rates_hash", "overrides_hash", "credits_hash"}
"""Hashes that detection compares already."""
FIRST_TEN = 10
USER_MONTH = ["user_id", "month"]


@dataclass(slots=True)
class CheckTotals:
    """What computing again has found: by invariant both sums (units of 10^-10), how often it is broken, by whom and
    how; and what could not be judged. ``rows``: of months in which nobody differs, rows now and as counted by the last
    run."""

    left: dict[str, int] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)
    culprits: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    same: int = 0
    stale: int = 0
    rows: dict[date, tuple[int, int]] = field(default_factory=dict)

    def add(
        self, law: str, rows: pl.DataFrame, left: pl.Expr, right: pl.Expr, key: pl.Expr, compared: Sequence[str] = ()
    ) -> None:
        """Takes rows of which ``left`` must be ``right``. Where these only say whether a row is as it should be,
        ``compared`` are its columns, of which each must be what it is with the suffix _held."""
        sides = {"left": left.cast(pl.Int128), "right": right.cast(pl.Int128), "key": key}
        judged = rows.select(*(how.alias(f"judged {name}") for name, how in sides.items()), *_both(compared))
        self.left[law] = self.left.get(law, 0) + int(judged["judged left"].sum())
        self.right[law] = self.right.get(law, 0) + int(judged["judged right"].sum())
        bad = judged.filter(pl.col("judged left").ne_missing(pl.col("judged right")))
        self.broken[law] += bad.height
        some = bad.sort("judged key").head(FIRST_TEN)
        names = [(name, f"{name}_held") for name in compared] or [("judged left", "judged right")]
        told = [(row["judged key"], _difference(row, names, judged.schema)) for row in some.iter_rows(named=True)]
        self.culprits.setdefault(law, []).extend(told)

    def laws(self) -> Iterator[Law]:
        """One line per invariant."""
        for law, left in self.left.items():
            counted = law in (SAME, SAME_DAYS)
            left_, right = (left, self.right[law]) if counted else (unscaled(left), unscaled(self.right[law]))
            some = sorted(self.culprits[law])[:FIRST_TEN]
            culprits, differences = ([each[n] for each in some] for n in (0, 1))
            yield Law(law, left_, right, self.broken[law], tuple(culprits), tuple(differences))
        if self.rows:
            bad = {f"{month:%Y-%m}": both for month, both in sorted(self.rows.items()) if both[0] != both[1]}
            now, before = (sum(each[n] for each in self.rows.values()) for n in (0, 1))
            yield Law(ROWS, now, before, len(bad), tuple(bad), tuple(sides("", *both) for both in bad.values()))


def _both(names: Sequence[str]) -> list[str]:
    return [f"{name}{end}" for name in names for end in ("", "_held")]


def _difference(row: Mapping[str, Any], names: Sequence[tuple[str, str]], schema: pl.Schema) -> str:
    """The first of the columns whose values are not the same, with both."""
    for name, other in names:
        if row[name] != row[other]:
            values = [
                unscaled(row[each]) if schema[each] == pl.Int128 and row[each] is not None else row[each]
                for each in (name, other)
            ]
            return sides("" if name == "judged left" else f"{name} is ", *values)
    return ""


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


def recalculate(connection: Connection, address: Address, plan: Plan, found: CheckTotals, *, draws: bool) -> Detected:
    """Every user's months of ``plan``; ``draws``: the months are one draw window, and the draws are computed, too."""
    months = plan.window.months
    limits = BatchLimits(plan.settings.batch_rows, plan.settings.batch_rows)
    everybody = detection.detect(connection, plan, months, full=True, limits=limits)
    pairs = [(each.user, each.month) for each in detection.differences(connection, plan, months).found]
    priced = pl.DataFrame(pairs, schema=NO_MONTHS.schema, orient="row")
    if draws:
        # What changed in one month of a draw window may move draws in another.
        stale = Stale(set(chain.from_iterable(detection.detect(connection, plan, months).work)), priced)
    else:
        stale = Stale(set(), priced, months=priced)
    reader, moved = Reader("copy", address), set()
    for users in everybody.work:
        read = read_input(connection, reader, plan, users)
        moved |= _judge(connection, plan, found, read, stale, draws=draws)
    for month in months:
        if month not in moved and month in everybody.months:
            found.rows[month] = everybody.months[month].rows, plan.months.rows.get(month, 0)
    return everybody


def _judge(
    connection: Connection,
    plan: Plan,
    found: CheckTotals,
    read: BatchInput,
    stale: Stale,
    *,
    draws: bool,
) -> set[date]:
    """Judges what of ``read`` is not ``stale``; the months in which somebody is."""
    account_rows = accounts.read_accounts(connection, plan.settings, plan.query.read.credits, read.paying)
    posted = apply_window_ledger(plan, read.rated, read.modes, read.draws, read.elsewhere)
    computed, due = posted, None
    if draws:
        computed, due, _ = allocate(plan, read, account_rows)
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
    mine = posted.with_columns(known=posted["user_id"].cast(pl.String).is_in(account_rows["user_id"].to_list()))
    _judge_rows(found, mine, read.months, same, every.join(stale.priced, on=USER_MONTH, how="anti"))
    if due is not None:
        key = pl.col("user_id") + " " + pl.col("id").map_elements(_uuid, return_dtype=pl.String)
        judged = due.filter(~of_users(stale.users & read.users))
        found.add(POSTED, judged, pl.col("free") + pl.col("purchased"), pl.lit(0), key)
    return set(every.join(same, on=USER_MONTH, how="anti")["month"])


def _judge_days(found: CheckTotals, plan: Plan, rows: pl.DataFrame, read: BatchInput, same: pl.DataFrame) -> None:
    month = pl.col("date").dt.month_start().alias("month")
    target, stored = (
        days.select(read.days.columns).with_columns(month).join(same, on=USER_MONTH, how="semi").drop("month")
        for days in (days_target(plan, rows), read.days)
    )
    both = target.join(stored, on=USER_DAY, how="full", coalesce=True, nulls_equal=True, suffix="_held")
    columns = [name for name in read.days.columns if name not in USER_DAY]
    key = pl.col("user_id") + " " + pl.col("date").dt.to_string()
    found.add(SAME_DAYS, both, pl.lit(1), _equal(columns), key, columns)


def _equal(columns: Sequence[str]) -> pl.Expr:
    return pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_held")) for name in columns)


def _uuid(number: int) -> str:
    return str(UUID(int=number))


def _judge_months(found: CheckTotals, target: pl.DataFrame, stands: pl.DataFrame) -> None:
    keys = ["user_id", "month"]
    key = pl.col("user_id") + " " + pl.col("month").dt.strftime("%Y-%m")
    both = target.join(stands, on=keys, suffix="_held")
    found.add(COSTS, both, pl.col("total_cost"), pl.col("total_cost_held"), key)
    columns = [name for name in stands.columns if name not in keys]
    found.add(SAME, both, pl.lit(1), _equal(columns), key, columns)


def _judge_rows(
    found: CheckTotals, rows: pl.DataFrame, stands: pl.DataFrame, same: pl.DataFrame, priced: pl.DataFrame
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
