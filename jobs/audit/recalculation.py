"""The invariants that need a recomputation: recomputes user-months from usage as a run does, and compares the results.

Usage, prices and accounts may change after a run; that breaks no invariant. So only user-months are checked whose
inputs have not changed since they were computed, as detection finds. The others are counted; the next run recomputes
them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from typing import Any
from uuid import UUID

import polars as pl

from jobs.credits.allocation import apply_ledger
from jobs.credits.draw_windows import allocate
from jobs.domain.fixed_point import unscaled
from jobs.domain.names import USER_DAY, USER_MONTH
from jobs.domain.schemas import DRAWN, PREPAID
from jobs.domain.work_list import BatchLimits
from jobs.pipeline.batch_computation import compute_days_target, compute_months_target
from jobs.pipeline.batch_input import BatchInput, of_users
from jobs.pipeline.batch_reading import read_input
from jobs.postgres import accounts, detection
from jobs.postgres.connections import Connection
from jobs.postgres.conninfo import Address
from jobs.postgres.detection import Detected
from jobs.postgres.invariants import InvariantCheck, describe_sides
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_reader import Reader

PAYING = ("uncovered", "amount_due", "amount_reported", "amount_free", "billing_mode")
WRITTEN_BY_RUNS = {"written_hash", "rates_hash", "overrides_hash", "credits_hash"}
"""Hashes that detection already compares."""
FIRST_TEN = 10


@dataclass(slots=True)
class CheckTotals:
    """The results of the recomputation, by name of the check.

    - ``left``, ``right``: the sums of both sides, in units of 10^-10 (of COUNTED checks: numbers of rows)
    - ``broken``: how many rows break the check
    - ``broken_keys``: some of these rows, as (key, difference)
    - ``same``: how many user-months were checked; ``stale``: how many were not, because their inputs have changed
    - ``rows``: by month without changed inputs: its usage rows now, and as counted by the last run
    """

    left: dict[str, int] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)
    broken_keys: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    same: int = 0
    stale: int = 0
    rows: dict[date, tuple[int, int]] = field(default_factory=dict)

    def add(
        self, check: str, rows: pl.DataFrame, left: pl.Expr, right: pl.Expr, key: pl.Expr, compared: Sequence[str] = ()
    ) -> None:
        """Adds rows to a check: in each row ``left`` must be equal to ``right``.

        ``key``: names a row. ``compared``: columns that exist also with the suffix _stored; if given, the difference of
        a broken row is shown for the first of these that differ, instead of for ``left`` and ``right``.
        """
        sides = {"left": left.cast(pl.Int128), "right": right.cast(pl.Int128), "key": key}
        checked = rows.select(*(side.alias(f"checked {name}") for name, side in sides.items()), *_both(compared))
        self.left[check] = self.left.get(check, 0) + int(checked["checked left"].sum())
        self.right[check] = self.right.get(check, 0) + int(checked["checked right"].sum())
        bad = checked.filter(pl.col("checked left").ne_missing(pl.col("checked right")))
        self.broken[check] += bad.height
        some = bad.sort("checked key").head(FIRST_TEN)
        names = [(name, f"{name}_stored") for name in compared] or [("checked left", "checked right")]
        culprits = [(row["checked key"], _difference(row, names, checked.schema)) for row in some.iter_rows(named=True)]
        self.broken_keys.setdefault(check, []).extend(culprits)

    def results(self) -> Iterator[InvariantCheck]:
        """The result of each check."""
        for check, left in self.left.items():
            is_counted = check in COUNTED
            left_, right = (left, self.right[check]) if is_counted else (unscaled(left), unscaled(self.right[check]))
            some = sorted(self.broken_keys[check])[:FIRST_TEN]
            culprits, differences = ([each[n] for each in some] for n in (0, 1))
            yield InvariantCheck(check, left_, right, self.broken[check], tuple(culprits), tuple(differences))
        if self.rows:
            bad = {f"{month:%Y-%m}": both for month, both in sorted(self.rows.items()) if both[0] != both[1]}
            now, before = (sum(each[n] for each in self.rows.values()) for n in (0, 1))
            yield InvariantCheck(
                ROWS, now, before, len(bad), tuple(bad), tuple(describe_sides("", *both) for both in bad.values())
            )


def _both(names: Sequence[str]) -> list[str]:
    return [f"{name}{end}" for name in names for end in ("", "_stored")]


def _difference(row: Mapping[str, Any], names: Sequence[tuple[str, str]], schema: pl.Schema) -> str:
    """Both values of the first pair of columns in ``names`` that differ, as text."""
    for name, other in names:
        if row[name] != row[other]:
            values = [
                unscaled(row[each]) if schema[each] == pl.Int128 and row[each] is not None else row[each]
                for each in (name, other)
            ]
            return describe_sides("" if name == "checked left" else f"{name} is ", *values)
    return ""


NO_MONTHS = pl.DataFrame(schema={"user_id": pl.String, "month": pl.Date})


@dataclass(frozen=True, slots=True)
class Stale:
    """What cannot be checked because its inputs have changed since it was computed.

    - ``users``: nothing is checked in any month of these users
    - ``months``: nothing is checked in these user-months
    - ``priced``: user-months whose usage, prices or price overrides have changed: no draws are checked
    """

    users: set[str]
    priced: pl.DataFrame
    months: pl.DataFrame = field(default_factory=lambda: NO_MONTHS)


COSTS, SAME, SAME_DAYS, PAID, OVER, POSTED, ROWS = (
    "1 cost of the rows, priced again = roll-up",
    "2 user-months, computed again = roll-up",
    "2 user-days, computed again = roll-up",
    "3 drawn + uncovered + due + reported = quantized cost",
    "3 drawn of a row <= its part of the cost",
    "5 draws, computed again = ledger",
    "6 rows now = rows counted, in unchanged months",
)
COUNTED = (SAME, SAME_DAYS)
"""Checks that count rows; the others sum amounts."""


def recalculate(
    connection: Connection, address: Address, scope: RunScope, found: CheckTotals, *, draws: bool
) -> Detected:
    """Recomputes the months of ``scope`` for all users, and adds the results to ``found``.

    ``draws``: the months are one draw window, and its draws are checked too. Returns what detection has read of all
    users.
    """
    months = scope.window.months
    limits = BatchLimits(scope.settings.batch_rows, scope.settings.batch_rows)
    all_users = detection.detect(connection, scope, months, full=True, limits=limits)
    pairs = [(each.user, each.month) for each in detection.find_changed_inputs(connection, scope, months).found]
    priced = pl.DataFrame(pairs, schema=NO_MONTHS.schema, orient="row")
    if draws:
        # A change in one month of a draw window may change draws in its other months.
        stale = Stale(set(chain.from_iterable(detection.detect(connection, scope, months).work)), priced)
    else:
        stale = Stale(set(), priced, months=priced)
    reader, changed = Reader("copy", address), set()
    for users in all_users.work:
        inputs = read_input(connection, reader, scope, users)
        changed |= _check_batch(connection, scope, found, inputs, stale, draws=draws)
    for month in months:
        if month not in changed and month in all_users.months:
            found.rows[month] = all_users.months[month].rows, scope.month_records.rows.get(month, 0)
    return all_users


def _check_batch(
    connection: Connection,
    scope: RunScope,
    found: CheckTotals,
    inputs: BatchInput,
    stale: Stale,
    *,
    draws: bool,
) -> set[date]:
    """Checks the user-months of ``inputs`` that are not ``stale``; returns the months that have stale ones."""
    account_rows = accounts.read_accounts(connection, scope.settings, scope.credits, inputs.account_users)
    posted = apply_ledger(inputs.for_credits, scope.credit_rules)
    computed, due = posted, None
    if draws:
        allocated = allocate(inputs.for_credits, account_rows, scope.window, scope.credit_rules)
        computed, due = allocated.rows, allocated.postings
    target = compute_months_target(scope, inputs, computed)
    every = pl.concat([target.select(USER_MONTH), inputs.months.select(USER_MONTH)]).unique()
    same = every.filter(~of_users(stale.users & inputs.users)).join(stale.months, on=USER_MONTH, how="anti")
    found.same += same.height
    found.stale += every.height - same.height
    # After a month is closed, accounts and reported amounts may change.
    left_out = WRITTEN_BY_RUNS | (set() if draws else set(PAYING))
    columns = [name for name in inputs.months.columns if name not in left_out]
    _check_months(found, target.join(same, on=USER_MONTH, how="semi"), inputs.months.select(columns))
    _check_days(found, scope, computed, inputs, same)
    rows = posted.with_columns(has_account=posted["user_id"].cast(pl.String).is_in(account_rows["user_id"].to_list()))
    _check_rows(found, rows, inputs.months, same, every.join(stale.priced, on=USER_MONTH, how="anti"))
    if due is not None:
        key = pl.col("user_id") + " " + pl.col("id").map_elements(_uuid, return_dtype=pl.String)
        entries = due.filter(~of_users(stale.users & inputs.users))
        found.add(POSTED, entries, DRAWN, pl.lit(0), key)
    return set(every.join(same, on=USER_MONTH, how="anti")["month"])


def _check_days(
    found: CheckTotals, scope: RunScope, rows: pl.DataFrame, inputs: BatchInput, same: pl.DataFrame
) -> None:
    month = pl.col("date").dt.month_start().alias("month")
    target, stored = (
        days.select(inputs.days.columns).with_columns(month).join(same, on=USER_MONTH, how="semi").drop("month")
        for days in (compute_days_target(scope, rows), inputs.days)
    )
    both = target.join(stored, on=USER_DAY, how="full", coalesce=True, nulls_equal=True, suffix="_stored")
    columns = [name for name in inputs.days.columns if name not in USER_DAY]
    key = pl.col("user_id") + " " + pl.col("date").dt.to_string()
    found.add(SAME_DAYS, both, pl.lit(1), _equal(columns), key, columns)


def _equal(columns: Sequence[str]) -> pl.Expr:
    return pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in columns)


def _uuid(number: int) -> str:
    return str(UUID(int=number))


def _check_months(found: CheckTotals, target: pl.DataFrame, stored: pl.DataFrame) -> None:
    key = pl.col("user_id") + " " + pl.col("month").dt.strftime("%Y-%m")
    both = target.join(stored, on=USER_MONTH, suffix="_stored")
    found.add(COSTS, both, pl.col("total_cost"), pl.col("total_cost_stored"), key)
    columns = [name for name in stored.columns if name not in USER_MONTH]
    found.add(SAME, both, pl.lit(1), _equal(columns), key, columns)


def _check_rows(
    found: CheckTotals, rows: pl.DataFrame, stored: pl.DataFrame, same: pl.DataFrame, priced: pl.DataFrame
) -> None:
    """Checks invariant 3 with the draws of the ledger; accounts are not read, so they may have changed since.

    ``stored``: rows of user_monthly. ``same``: the user-months to check. ``priced``: those to check draws of.
    """
    every = rows.with_columns(pl.col("user_id").cast(pl.String))
    drawn, parts = DRAWN, pl.col("part") + pl.col("due_part")
    # Draws of a deleted account stay as they are; reported rows were invoiced together with their draws.
    limited = every.join(priced, on=USER_MONTH, how="semi").filter(
        (pl.col("class") == PREPAID) & ~pl.col("reported") & pl.col("has_account")
    )
    key = pl.col("user_id") + " " + pl.col("id").map_elements(_uuid, return_dtype=pl.String)
    found.add(OVER, limited, pl.min_horizontal(drawn, "part"), drawn, key)
    # An amount that was invoiced elsewhere, or drawn by another program, may exceed the cost of the row now.
    in_scope = every.join(same, on=USER_MONTH, how="semi")
    total = in_scope.group_by(USER_MONTH).agg(pl.max_horizontal(parts, drawn).sum().alias("total"))
    paid = pl.col("credits_deducted") + pl.col("uncovered") + pl.col("amount_due") + pl.col("amount_reported")
    key = pl.col("user_id") + " " + pl.col("month").dt.strftime("%Y-%m")
    # Months of the first version have no amounts due.
    computed = stored.filter(pl.col("uncovered").is_not_null())
    found.add(PAID, total.join(computed, on=USER_MONTH), pl.col("total"), paid, key)
