"""The invariants that need a recomputation: recomputes user-months from usage as a run does, and compares the results.

Usage, prices and accounts may change after a run; that breaks no invariant. So only user-months are checked whose
inputs have not changed since they were computed, as detection finds. The others are counted; the next run recomputes
them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

import polars as pl

from jobs.credits.allocation import allocate_windows, apply_ledger
from jobs.domain.fixed_point import unscaled
from jobs.domain.fixed_point_columns import int128
from jobs.domain.schemas import DRAWN, PREPAID, in_decimals
from jobs.domain.tables import USER_DAY, USER_MONTH
from jobs.domain.work_list import BatchLimits
from jobs.pipeline.batch_input import BatchInput, of_users
from jobs.pipeline.batch_reading import read_input
from jobs.pipeline.rollup_targets import compute_days_target, compute_months_target
from jobs.postgres import accounts, detection
from jobs.postgres.connections import Connection
from jobs.postgres.conninfo import Address
from jobs.postgres.detection import Detected
from jobs.postgres.invariants import FIRST_TEN, InvariantCheck, describe_sides
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_reader import Reader


def id_text(column: str) -> pl.Expr:
    """A column of ids (UInt128) as text."""
    return pl.col(column).map_elements(lambda id_: str(UUID(int=id_)), return_dtype=pl.String)


PAYMENT_COLUMNS = ("uncovered", "amount_due", "amount_reported", "amount_free", "billing_mode")
HASHES_OF_DETECTION = {"written_hash", "rates_hash", "overrides_hash", "credits_hash"}
"""Hashes that detection already compares."""
SAME_COSTS, SAME_MONTHS, SAME_DAYS, PAYMENT, DRAW_LIMIT, SAME_DRAWS, ROW_COUNTS = (
    "1 cost of the rows, priced again = roll-up",
    "2 user-months, computed again = roll-up",
    "2 user-days, computed again = roll-up",
    "3 drawn + uncovered + due + reported = quantized cost",
    "3 drawn of a row <= its part of the cost",
    "5 draws, computed again = ledger",
    "6 rows now = rows counted, in unchanged months",
)
MONTH_KEY = pl.col("user_id") + " " + pl.col("month").dt.strftime("%Y-%m")
DAY_KEY = pl.col("user_id") + " " + pl.col("date").dt.to_string()
ROW_KEY = pl.col("user_id") + " " + id_text("id")
KEY, LEFT, RIGHT = "checked key", "checked left", "checked right"
"""Columns of checked rows. No meter has a name with a space."""


@dataclass(slots=True)
class CheckTotals:
    """The results of the recomputation.

    - ``checks``: the result of each check, by title
    - ``checked``: how many user-months were checked; ``not_checked``: how many were not, because inputs changed
    """

    checks: dict[str, InvariantCheck] = field(default_factory=dict)
    checked: int = 0
    not_checked: int = 0

    def add(self, result: InvariantCheck) -> None:
        """Adds the ``result`` of a check of some rows to that of the others."""
        before = self.checks.get(result.title)
        self.checks[result.title] = result if before is None else before.plus(result)

    def compare_amounts(self, title: str, rows: pl.DataFrame, key: pl.Expr, left: pl.Expr, right: pl.Expr) -> None:
        """Checks that in each row both amounts (Int128 units of 10^-10) are equal."""
        checked = rows.select(key.alias(KEY), left.alias(LEFT), right.alias(RIGHT))
        sums = unscaled(int(checked[LEFT].sum())), unscaled(int(checked[RIGHT].sum()))
        broken = checked.filter(pl.col(LEFT).ne_missing(pl.col(RIGHT)))
        self.add(_make_check(title, sums, broken, [("", LEFT, RIGHT)]))

    def compare_rows(self, title: str, rows: pl.DataFrame, key: pl.Expr, names: Sequence[str]) -> None:
        """Checks that in each row the columns ``names`` are equal to those with the suffix _stored. The sides count
        rows."""
        broken = rows.filter(~is_same(names)).with_columns(key.alias(KEY))
        sides = [(f"{name} is ", name, f"{name}_stored") for name in names]
        self.add(_make_check(title, (rows.height, rows.height - broken.height), broken, sides))


def _make_check(
    title: str, sums: tuple[Any, Any], broken: pl.DataFrame, sides: Sequence[tuple[str, str, str]]
) -> InvariantCheck:
    """The result of a check. ``broken``: the rows that break it, each with its KEY; ``sides``: the columns that should
    be equal, after words for the difference."""
    some = broken.sort(KEY).head(FIRST_TEN)
    some = some.with_columns(in_decimals(name) for name, kind in some.schema.items() if kind == pl.Int128)
    differences = tuple(
        next(describe_sides(what, row[one], row[other]) for what, one, other in sides if row[one] != row[other])
        for row in some.iter_rows(named=True)
    )
    return InvariantCheck(title, *sums, broken.height, tuple(some[KEY]), differences)


def check_counts(title: str, counts: Mapping[date, tuple[int, int]], bad: Sequence[date]) -> InvariantCheck:
    """A check of two ``counts`` by month, which the months ``bad`` break."""
    left, right = (sum(each[n] for each in counts.values()) for n in (0, 1))
    differences = tuple(describe_sides("", *counts[month]) for month in bad)
    return InvariantCheck(title, left, right, len(bad), tuple(f"{month:%Y-%m}" for month in bad), differences)


def join_stored(target: pl.DataFrame, stored: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """The rows of both frames by ``key``; the columns of ``stored`` with the suffix _stored."""
    return target.join(stored, on=key, how="full", coalesce=True, nulls_equal=True, suffix="_stored")


def is_same(names: Iterable[str]) -> pl.Expr:
    """Whether the columns ``names`` are equal to those of ``join_stored`` with the suffix _stored."""
    return pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in names)


def join_days(scope: RunScope, rows: pl.DataFrame, inputs: BatchInput) -> pl.DataFrame:
    """``join_stored`` of user_daily as computed from ``rows`` and as stored, with the month of each day.

    Months of the first version are left out: they have no rows in user_daily.
    """
    target, stored = compute_days_target(scope, rows).select(inputs.stored_days.columns), inputs.stored_days
    known = [month for month, text in scope.month_records.fingerprint_definitions.items() if text is not None]
    month = pl.col("date").dt.month_start().alias("month")
    return join_stored(target, stored, USER_DAY).with_columns(month).filter(month.is_in(known))


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
    _, changed_inputs = detection.find_changed_inputs(connection, scope, months)
    pairs = [(each.user, each.month) for each in changed_inputs]
    changed = pl.DataFrame(pairs, {"user_id": pl.String, "month": pl.Date}, orient="row")
    # A change in one month may change draws in others: nothing is checked of these users.
    differing_users = (
        {user for users in detection.detect(connection, scope, months).work for user in users} if draws else None
    )
    unchecked: set[date] = set()
    for users in all_users.work:
        inputs = read_input(connection, Reader("copy", address), scope, users)
        unchecked |= _check_batch(connection, scope, found, inputs, changed, differing_users)
    counted, now = scope.month_records.rows, all_users.months
    complete = [month for month in months if month not in unchecked and month in now]
    counts = {month: (now[month].rows, counted.get(month, 0)) for month in complete}
    if counts:
        bad = [month for month, (rows, before) in counts.items() if rows != before]
        found.add(check_counts(ROW_COUNTS, counts, bad))
    return all_users


def _check_batch(
    connection: Connection,
    scope: RunScope,
    found: CheckTotals,
    inputs: BatchInput,
    changed: pl.DataFrame,
    differing_users: Collection[str] | None,
) -> set[date]:
    """Checks the user-months of ``inputs`` that have not ``changed``; returns the months of the others.

    ``differing_users``: users whose draws may change; None: draws are not checked.
    """
    draws, is_of_unchanged_user = (
        differing_users is not None,
        ~of_users(inputs.users.intersection(differing_users or ())),
    )
    account_rows = accounts.read_accounts(connection, scope.settings, scope.credits, inputs.account_users)
    posted = apply_ledger(inputs.for_credits, scope.credit_rules)
    computed = posted
    if draws:
        allocated = allocate_windows(inputs.for_credits, account_rows, scope.window, scope.credit_rules)
        computed = allocated.rows
        found.compare_amounts(SAME_DRAWS, allocated.postings.filter(is_of_unchanged_user), ROW_KEY, DRAWN, int128(0))
    target = compute_months_target(scope, inputs, computed)
    every = pl.concat([target.select(USER_MONTH), inputs.stored_months.select(USER_MONTH)]).unique()
    unchanged = every.join(changed, on=USER_MONTH, how="anti")
    checked = unchanged.filter(is_of_unchanged_user)
    found.checked += checked.height
    found.not_checked += every.height - checked.height
    # After a month is closed, accounts and reported amounts may change.
    left_out = HASHES_OF_DETECTION | {*USER_MONTH, *(() if draws else PAYMENT_COLUMNS)}
    columns = [name for name in inputs.stored_months.columns if name not in left_out]
    both = target.join(checked, on=USER_MONTH, how="semi").join(inputs.stored_months, on=USER_MONTH, suffix="_stored")
    found.compare_amounts(SAME_COSTS, both, MONTH_KEY, pl.col("total_cost"), pl.col("total_cost_stored"))
    found.compare_rows(SAME_MONTHS, both, MONTH_KEY, columns)
    days = join_days(scope, computed, inputs).join(checked, on=USER_MONTH, how="semi")
    found.compare_rows(SAME_DAYS, days, DAY_KEY, [name for name in inputs.stored_days.columns if name not in USER_DAY])
    has_account = pl.col("user_id").is_in(account_rows["user_id"].to_list())
    rows = posted.with_columns(pl.col("user_id").cast(pl.String))
    _check_draws(found, rows.filter(has_account).join(unchanged, on=USER_MONTH, how="semi"))
    _check_payment(found, rows.join(checked, on=USER_MONTH, how="semi"), inputs.stored_months)
    return set(every.join(checked, on=USER_MONTH, how="anti")["month"])


def _check_draws(found: CheckTotals, rows: pl.DataFrame) -> None:
    """Checks that no draw exceeds its row's part of the cost, with the draws of the ledger. ``rows``: of users with an
    account; draws of a deleted account stay as they are."""
    # Reported rows were invoiced together with their draws.
    limited = rows.filter((pl.col("class") == PREPAID) & ~pl.col("reported"))
    found.compare_amounts(DRAW_LIMIT, limited, ROW_KEY, pl.min_horizontal(DRAWN, "prepaid_part"), DRAWN)


def _check_payment(found: CheckTotals, rows: pl.DataFrame, stored: pl.DataFrame) -> None:
    """Checks that the amounts of a user-month (``stored``: user_monthly) add up to the quantized cost of its rows."""
    # An amount that was invoiced elsewhere, or drawn by another program, may exceed the cost of the row now.
    cost = pl.max_horizontal(pl.col("prepaid_part") + pl.col("due_part"), DRAWN).sum().alias("quantized_cost")
    paid = pl.col("credits_deducted") + pl.col("uncovered") + pl.col("amount_due") + pl.col("amount_reported")
    # Months of the first version have no amounts due.
    computed = stored.filter(pl.col("uncovered").is_not_null())
    both = rows.group_by(USER_MONTH).agg(cost).join(computed, on=USER_MONTH)
    found.compare_amounts(PAYMENT, both, MONTH_KEY, pl.col("quantized_cost"), paid)
