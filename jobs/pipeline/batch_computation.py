"""Computes a batch, in a run as in a dry run: which credits pay, the roll-ups, and what differs from stored rows."""

from dataclasses import replace
from uuid import UUID

import polars as pl

from jobs.credits import allocation, debts
from jobs.domain.fixed_point_columns import int128
from jobs.domain.schemas import DRAWS
from jobs.pipeline import month_hashes, unexplained_credits
from jobs.pipeline.batch_changes import BatchChanges, BatchTargets
from jobs.pipeline.batch_input import BatchInput
from jobs.pipeline.table_diff import TableDiff, add_left_out_meters
from jobs.pipeline.usage_updates import make_debt_updates, make_usage_updates
from jobs.postgres import rejects, usage_writeback
from jobs.postgres.connections import Connection
from jobs.postgres.rejects import RejectChange
from jobs.postgres.run_scope import RunScope
from jobs.rollups.causes import NO_CAUSES, find_debt_causes, keep_stored_credits_hash
from jobs.rollups.sums import sum_user_days, sum_user_months


def compute_targets(
    connection: Connection, scope: RunScope, inputs: BatchInput, account_rows: pl.DataFrame
) -> BatchTargets:
    """Computes what should be posted and stored for the users of ``inputs``.

    Reads usage_daily, rollup.rejects and the ledger.

    ``account_rows``: the accounts of these users (schemas.ACCOUNTS).
    """
    inputs, adopted_draws, settled_by_adoption = _adopt(connection, scope, inputs, account_rows)
    allocated = allocation.allocate(inputs.for_credits, account_rows, scope.window, scope.credit_rules)
    rows, settled = allocated.rows, allocated.settled_debts
    postings = allocated.postings
    return BatchTargets(
        scope=scope,
        inputs=inputs,
        rows=rows,
        accounts=account_rows,
        accounts_after=allocated.accounts,
        adopted_draws=adopted_draws,
        postings=postings,
        usage_updates=_make_updates(scope, inputs, rows, postings, settled),
        unread=usage_writeback.find_unread_rows(connection, scope, postings.filter("vanished")),
        days=compute_days_target(scope, rows),
        months=compute_months_target(scope, inputs, rows),
        settled_debts=settled,
        debts_settled_by_adoption=settled_by_adoption,
        debts=debts.compute_debts_target(
            inputs.debts,
            scope.window.debt_months,
            rows if scope.credits.has_accounts else rows.clear(),
            pl.concat([settled, settled_by_adoption]),
            postings["id"],
        ),
        rejects=_find_reject_changes(connection, scope, inputs),
    )


def _make_updates(
    scope: RunScope, inputs: BatchInput, rows: pl.DataFrame, postings: pl.DataFrame, settled: pl.DataFrame
) -> pl.DataFrame:
    """Returns the rows of usage_daily to write (pipeline.usage_updates), those of debts included."""
    writes_deducted = scope.credits.writes_deducted
    updates = make_usage_updates(rows, inputs.rejected, postings, inputs.mismatched, writes_deducted=writes_deducted)
    refilled = debts.select_refilled_debts(inputs.payable, inputs.mismatched_debts, settled)
    debt_updates = make_debt_updates(pl.concat([settled, refilled]), writes_deducted=writes_deducted)
    return pl.concat([updates, debt_updates.select(updates.columns)])


def _find_reject_changes(connection: Connection, scope: RunScope, inputs: BatchInput) -> list[RejectChange]:
    ids = [str(UUID(int=id_)) for id_ in inputs.rejected["id"]]
    rejected = rejects.read_rejects(connection, scope.query, ids)
    return rejects.find_user_changes(connection, scope.settings, rejected, inputs.users, scope.window.spans())


def _adopt(
    connection: Connection, scope: RunScope, inputs: BatchInput, account_rows: pl.DataFrame
) -> tuple[BatchInput, pl.DataFrame, pl.DataFrame]:
    """Returns the input as it is once ``--adopt`` has made the ledger agree with the rows of some users.

    Also returns the draws that it enters (schemas.DRAWS), and the debts that these settle (credits.debts).
    """
    users = sorted(scope.adopted_users.intersection(inputs.unexplained))
    if not users:
        return inputs, pl.DataFrame(schema=DRAWS), debts.with_nothing_paid(inputs.payable.clear())
    adopted_draws = unexplained_credits.make_adopted_draws(connection, scope, inputs, account_rows, users)
    dropped = unexplained_credits.make_dropped_draws(inputs, users)
    payable, settled = debts.adopt_debts(inputs.payable, adopted_draws)
    in_window = adopted_draws.join(settled, on=["id", "date"], how="anti")
    explained = replace(
        inputs,
        draws=pl.concat([inputs.draws, in_window, dropped]),
        mismatched=unexplained_credits.explain_adopted(inputs.mismatched, adopted_draws),
        mismatched_debts=unexplained_credits.explain_adopted(inputs.mismatched_debts, adopted_draws),
        payable=payable,
    )
    return explained, pl.concat([adopted_draws, dropped]), settled


def compute_days_target(scope: RunScope, rows: pl.DataFrame) -> pl.DataFrame:
    """Returns the target rows of user_daily; ``rows``: rated, with their draws."""
    return add_left_out_meters(sum_user_days(rows.lazy(), scope.meters), scope, monthly=False).collect()


def compute_months_target(scope: RunScope, inputs: BatchInput, rows: pl.DataFrame) -> pl.DataFrame:
    """Returns the target rows of user_monthly with ``lacks_recorded``, without hashes of credits, overrides and prices.

    A user all of whose rows are rejected has a row of zeros, which says that these rows were processed.
    """
    sums = add_left_out_meters(sum_user_months(rows.lazy(), scope.meters), scope, monthly=True)
    schema = sums.collect_schema()
    zeros = [
        pl.col(name).fill_null(int128(0) if kind == pl.Int128 else pl.lit(0, dtype=kind))
        for name, kind in schema.items()
        if kind.is_integer()
    ]
    return (
        inputs.fingerprints.lazy()
        .join(sums, on=["user_id", "month"], how="left")
        .with_columns(
            *zeros,
            pl.col("clusters").fill_null("{}"),
            currency=pl.col("month").replace_strict(scope.currencies, return_dtype=pl.String),
        )
        .collect()
    )


def find_changes(
    connection: Connection, targets: BatchTargets, hash_changes: pl.DataFrame, run_id: int | None
) -> BatchChanges:
    """Compares ``targets`` with the stored rows. Call before anything is written: the server hashes what is stored.

    - ``hash_changes``: how written_hash changes when ``usage_updates`` are written (usage_writeback.HASH_CHANGES);
    - ``run_id``: None in a dry run, and in the change check.
    """
    scope, inputs = targets.scope, targets.inputs
    months = month_hashes.add_hashes(connection, targets, hash_changes).select(inputs.stored_months.columns)
    if closed := sorted(scope.window.closed):
        months = keep_stored_credits_hash(months.lazy(), inputs.stored_months.lazy(), closed).collect()
    causes = NO_CAUSES
    if scope.lists_changes or (run_id is None and scope.covered_to is not None):
        monthly = TableDiff.find(scope, "user_monthly", months, inputs.stored_months)
        causes = month_hashes.find_month_causes(connection, targets, monthly, run_id)
    settled, by_adoption = targets.settled_debts, targets.debts_settled_by_adoption
    debt_days, old_debt_days = debts.settle_days(inputs.closed_days, settled, by_adoption)
    debt_months, old_debt_months = debts.settle_months(inputs.closed_months, settled, by_adoption, hash_changes)
    days = targets.days.select(inputs.stored_days.columns)
    return BatchChanges(
        targets=targets,
        daily=TableDiff.find(
            scope, "user_daily", pl.concat([days, debt_days]), pl.concat([inputs.stored_days, old_debt_days])
        ),
        monthly=TableDiff.find(
            scope, "user_monthly", pl.concat([months, debt_months]), pl.concat([inputs.stored_months, old_debt_months])
        ),
        debts=TableDiff.find(scope, "debts", targets.debts, inputs.debts),
        causes=pl.concat([causes, find_debt_causes(debt_months, old_debt_months)]),
    )
