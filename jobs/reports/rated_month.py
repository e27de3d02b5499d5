"""Prices the usage of a month again, for what the tables do not hold: tiers, prices, list costs.

A figure of a file must be the figure of the tables. So the result of each user is compared with user_daily, and a user
whose usage or prices have changed since the last run is refused.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import polars as pl

from jobs.audit.recalculation import is_same, join_stored
from jobs.credits.allocation import apply_ledger
from jobs.domain.errors import DataChangedError
from jobs.domain.tables import USER_DAY, USER_MONTH
from jobs.domain.wording import name_some
from jobs.domain.work_list import BatchLimits
from jobs.pipeline.batch_input import BatchInput, of_users
from jobs.pipeline.batch_reading import read_input
from jobs.pipeline.rollup_targets import compute_days_target, compute_months_target
from jobs.postgres import detection
from jobs.postgres.connections import Connection
from jobs.postgres.conninfo import Address
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_reader import Reader


@dataclass(frozen=True, slots=True)
class RatedUsers:
    """Some users of a month, priced again and equal to what is stored.

    - ``rows``: one row per usage row: its quantities, the charge of each meter, ``total_cost``, ``adjustment_cost``,
      ``recorded``, and how it is paid: ``class``, ``free``, ``purchased``, ``uncovered``, ``amount_due``,
      ``amount_reported``, ``amount_free`` (units of 10^-10; credits.allocation.apply_ledger)
    - ``inputs``: what was read of these users, with the stored rows of user_daily and user_monthly
    """

    rows: pl.DataFrame
    inputs: BatchInput


def rate_all_users(
    connection: Connection,
    address: Address,
    scope: RunScope,
    only: frozenset[str] | None = None,
    rows: int | None = None,
) -> Iterator[tuple[RatedUsers, frozenset[str]]]:
    """Yields what ``rate_users`` returns, of all users of the month of ``scope``, some at a time, sorted by user.

    ``only``: leave out all users but these. ``rows``: at most so many usage rows at a time, and not more than
    ``batch_rows``.
    """
    most = min(rows or scope.settings.batch_rows, scope.settings.batch_rows)
    limits = BatchLimits(most, most)
    for users in detection.detect(connection, scope, scope.window.months, full=True, limits=limits).work:
        if named := users if only is None else [user for user in users if user in only]:
            yield rate_users(connection, address, scope, named)


def refuse_changed(scope: RunScope, changed: Collection[str]) -> None:
    """Raises DataChangedError if there are users whose result is not what is stored."""
    if changed:
        raise DataChangedError(
            f"{scope.window.first:%Y-%m}: expected the cost that is stored; the usage or the prices of "
            f"{name_some(sorted(changed))} have changed since the last run. An open month: usage-jobs run, then try "
            "again. A closed month: usage-jobs watch names the backfill"
        )


def rate_users(
    connection: Connection, address: Address, scope: RunScope, users: Collection[str]
) -> tuple[RatedUsers, frozenset[str]]:
    """Returns those of ``users`` whose result is what is stored, and the ids of the others.

    Needs an open transaction.
    """
    inputs = read_input(connection, Reader("copy", address), scope, users)
    rows = apply_ledger(inputs.for_credits, scope.credit_rules)
    changed = _find_changed_users(scope, inputs, rows)
    if changed:
        inputs, rows = inputs.without(changed), rows.filter(~of_users(changed))
    return RatedUsers(rows, inputs), changed


def _find_changed_users(scope: RunScope, inputs: BatchInput, rows: pl.DataFrame) -> frozenset[str]:
    months = compute_months_target(scope, inputs, rows)
    amounts = [name for name in inputs.stored_months.columns if name.endswith("_cost")]
    changed = {*_find_changed(months, inputs.stored_months, USER_MONTH, amounts)}
    # A month that was closed before user_daily was kept has no rows there.
    if not inputs.stored_days.is_empty():
        amounts = [name for name in inputs.stored_days.columns if name.endswith("_cost")]
        changed |= {*_find_changed(compute_days_target(scope, rows), inputs.stored_days, USER_DAY, amounts)}
    return frozenset(changed)


def _find_changed(target: pl.DataFrame, stored: pl.DataFrame, key: tuple[str, ...], amounts: list[str]) -> list[str]:
    both = join_stored(target.select(*key, *amounts), stored.select(*key, *amounts), key)
    return both.filter(~is_same(amounts))["user_id"].cast(pl.String).unique().to_list()
