"""One batch: every step in its order, from what was read of its users to what is written.

::

    read, rate                by pipeline.batch_reading; no lock
    BEGIN
    ownership check           our row of rollup.runs still says running
    lock accounts             SKIP LOCKED: never waits
    compute                   draws, roll-ups: now the rows to write are known
    lock usage rows           SKIP LOCKED
    verify                    the server's fingerprints of the users equal those of the rows that were read
    compare                   with the stored rows: only what differs is written
    write, COMMIT             ledger, transactions, accounts, usage rows, roll-ups, rejects

Users leave the batch before anything is written if another transaction has locked something of theirs, or if their
rows have changed since they were read.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import polars as pl

from jobs.credits import allocation, debts
from jobs.pipeline import rollup_targets, unexplained_credits
from jobs.pipeline.batch_changes import BatchChanges, BatchTargets
from jobs.pipeline.batch_input import BatchInput
from jobs.pipeline.table_diff import TableDiff
from jobs.pipeline.usage_updates import make_debt_updates, make_usage_updates
from jobs.postgres import (
    accounts,
    billing_mode_history,
    cluster_rollups,
    detection,
    rejects,
    table_io,
    usage_writeback,
)
from jobs.postgres.connections import Connection
from jobs.postgres.rejects import RejectChange
from jobs.postgres.run_lock import check_ownership
from jobs.postgres.run_scope import RunScope
from jobs.rollups.causes import NO_CAUSES, find_debt_causes, keep_stored_credits_hash


@dataclass(frozen=True, slots=True)
class BatchWriter:
    """Computes and writes one batch of a run.

    - ``number``: of the batch in rollup.touched_days;
    - ``check``: called with the changes before they are written (rollups.changes.CHANGES), raises to prevent that.
    """

    scope: RunScope
    run_id: int
    number: int
    check: Callable[[pl.DataFrame], None]

    def write(
        self, connection: Connection, inputs: BatchInput, changes: BatchChanges | None, *, is_single: bool = False
    ) -> BatchChanges | None:
        """Computes ``inputs`` and writes what differs, in the caller's transaction.

        Returns the changes of the users who were written; None if all have left the batch.

        - ``changes``: those that the change check has computed, if it has. They are written if accounts, rows and
          ledger are the same;
        - ``is_single``: whether the batch is one user, whose account and rows are locked already.
        """
        scope = self.scope
        if not is_single:
            check_ownership(connection, scope.settings, self.run_id)
        locked, skipped = accounts.lock_accounts(
            connection, scope.settings, scope.credits, inputs.account_users, wait=is_single
        )
        inputs = inputs.without(skipped)
        # An account that was opened after the lock is not locked, so it is left to the next run.
        account_rows = accounts.read_accounts(connection, scope.settings, scope.credits, locked)
        if changes is not None and not changes.was_computed_from(inputs, account_rows):
            changes = None
        targets = changes.targets if changes else compute_targets(connection, scope, inputs, account_rows)
        hash_changes, missing = usage_writeback.lock_rows(connection, scope, targets.usage_updates, is_locked=is_single)
        missing |= usage_writeback.lock_unread_rows(connection, scope, targets.unread)
        not_writable = missing | _find_changed_users(connection, scope, inputs)
        targets = targets.without(not_writable)
        if not targets.users:
            return None
        # While every user is still in the batch, ``targets`` are those of the change check, and its changes hold.
        if changes is None or changes.targets is not targets:
            changes = find_changes(connection, targets, hash_changes, self.run_id)
        self.check(changes.list_changes())
        _write_changes(connection, changes, self.run_id, self.number, not_writable)
        return changes


def compute_batch(connection: Connection, scope: RunScope, inputs: BatchInput) -> BatchChanges:
    """Computes what ``BatchWriter`` would write, read-only, in the caller's transaction."""
    account_rows = accounts.read_accounts(connection, scope.settings, scope.credits, inputs.account_users)
    targets = compute_targets(connection, scope, inputs, account_rows)
    hash_changes = usage_writeback.compute_hash_changes(connection, scope, targets.usage_updates)
    return find_changes(connection, targets, hash_changes, None)


def compute_targets(
    connection: Connection, scope: RunScope, inputs: BatchInput, account_rows: pl.DataFrame
) -> BatchTargets:
    """Computes what should be posted and stored for the users of ``inputs``.

    Reads usage_daily, rollup.rejects and the ledger.

    ``account_rows``: the accounts of these users (schemas.ACCOUNTS).
    """
    inputs, adopted_draws, settled_by_adoption = unexplained_credits.adopt(connection, scope, inputs, account_rows)
    allocated = allocation.allocate_windows(inputs.for_credits, account_rows, scope.window, scope.credit_rules)
    rows, postings, settled = allocated.rows, allocated.postings, allocated.settled_debts
    return BatchTargets(
        scope=scope,
        inputs=inputs,
        rows=rows,
        accounts=account_rows,
        accounts_after=allocated.accounts,
        adopted_draws=adopted_draws,
        postings=postings,
        usage_updates=_make_all_usage_updates(scope, inputs, rows, postings, settled),
        unread=usage_writeback.find_unread_rows(connection, scope, postings.filter("vanished")),
        days=rollup_targets.compute_days_target(scope, rows),
        months=rollup_targets.compute_months_target(scope, inputs, rows),
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


def _make_all_usage_updates(
    scope: RunScope, inputs: BatchInput, rows: pl.DataFrame, postings: pl.DataFrame, settled: pl.DataFrame
) -> pl.DataFrame:
    """Returns the rows of usage_daily to write (pipeline.usage_updates), those of debts included."""
    writes_deducted = scope.credits.writes_deducted
    updates = make_usage_updates(rows, inputs.rejected, postings, inputs.mismatched, writes_deducted=writes_deducted)
    refilled = debts.select_refilled_debts(inputs.payable, inputs.mismatched_debts, settled)
    debt_updates = make_debt_updates(pl.concat([settled, refilled]), writes_deducted=writes_deducted)
    return pl.concat([updates, debt_updates.select(updates.columns)])


def _find_reject_changes(connection: Connection, scope: RunScope, inputs: BatchInput) -> list[RejectChange]:
    rejected = rejects.read_rejects(connection, scope.query, inputs.rejected_ids)
    return rejects.find_user_changes(connection, scope.settings, rejected, inputs.users, scope.window.spans())


def _find_changed_users(connection: Connection, scope: RunScope, inputs: BatchInput) -> frozenset[str]:
    """Returns users whose rows or ledger entries have changed since they were read."""
    now = detection.read_fingerprints(connection, scope, inputs.users)
    then = {
        (user, month): (rows, usage, written)
        for user, month, rows, usage, written in inputs.fingerprints.select(
            "user_id", "month", "row_count", "usage_hash", "written_hash"
        ).iter_rows()
    }
    changed = {user for (user, _), _ in now.items() ^ then.items()}
    if scope.credits.has_accounts:
        # Only runs should post to the ledger. This finds postings of any other program.
        posted = detection.count_draws(connection, scope, inputs.users)
        changed |= {user for user, _ in posted.items() ^ dict(inputs.entry_counts.iter_rows()).items()}
    return frozenset(changed)


def find_changes(
    connection: Connection, targets: BatchTargets, hash_changes: pl.DataFrame, run_id: int | None
) -> BatchChanges:
    """Compares ``targets`` with the stored rows. Call before anything is written: the server hashes what is stored.

    - ``hash_changes``: how written_hash changes when ``usage_updates`` are written (usage_writeback.HASH_CHANGES);
    - ``run_id``: None in a dry run, and in the change check, which need to know why months change.
    """
    scope, inputs = targets.scope, targets.inputs
    months = rollup_targets.add_hashes(connection, targets, hash_changes).select(inputs.stored_months.columns)
    if closed := sorted(scope.window.closed):
        months = keep_stored_credits_hash(months.lazy(), inputs.stored_months.lazy(), closed).collect()
    causes = NO_CAUSES
    if scope.lists_changes or (run_id is None and scope.covered_to is not None):
        monthly = TableDiff.compare(scope, "user_monthly", months, inputs.stored_months)
        causes = rollup_targets.find_month_causes(connection, targets, monthly, run_id)
    settled, by_adoption = targets.settled_debts, targets.debts_settled_by_adoption
    debt_days, old_debt_days = debts.settle_days(inputs.closed_days, settled, by_adoption)
    debt_months, old_debt_months = debts.settle_months(inputs.closed_months, settled, by_adoption, hash_changes)
    days = targets.days.select(inputs.stored_days.columns)
    return BatchChanges(
        targets=targets,
        days=TableDiff.compare(
            scope, "user_daily", pl.concat([days, debt_days]), pl.concat([inputs.stored_days, old_debt_days])
        ),
        months=TableDiff.compare(
            scope, "user_monthly", pl.concat([months, debt_months]), pl.concat([inputs.stored_months, old_debt_months])
        ),
        debts=TableDiff.compare(scope, "debts", targets.debts, inputs.debts),
        causes=pl.concat([causes, find_debt_causes(debt_months, old_debt_months)]),
    )


def _write_changes(
    connection: Connection, changes: BatchChanges, run_id: int, batch_number: int, not_writable: Collection[str]
) -> None:
    """Writes all changes, in the transaction that has locked the rows.

    ``not_writable``: users whose rows ``usage_writeback.lock_rows`` has staged and who have left since. Raises
    ConcurrentChangeError if a row is not as expected: the transaction must then be rolled back.
    """
    targets, scope, settings = changes.targets, changes.targets.scope, changes.targets.scope.settings
    if not targets.adopted_draws.is_empty():
        accounts.post_adopted_draws(connection, settings, targets.adopted_draws, run_id)
    if not targets.postings.is_empty():
        accounts.post_draws(connection, settings, scope.credits, targets.postings, run_id)
    if not targets.usage_updates.is_empty():
        if not_writable:
            usage_writeback.unstage_users(connection, not_writable)
        usage_writeback.write_rows(connection, scope, targets.usage_updates)
    usage_writeback.write_unread_rows(connection, scope, targets.unread)
    changes.days.write(connection, scope, run_id)
    # The end of the run sums these days into the cluster tables (end_changes.compute_end).
    cluster_rollups.touch_days(connection, scope, run_id, batch_number, changes.days.keys["date"].unique().to_list())
    changes.months.write(connection, scope, run_id)
    changes.debts.write(connection, scope, run_id)
    if entries := targets.inputs.new_billing_modes:
        known = billing_mode_history.known_entries_query(entries)
        billing_mode_history.append_entries(connection, settings, known, run_id)
    corrections = changes.corrections.with_columns(reason=pl.lit(scope.reason, pl.String))
    table_io.insert(connection, settings, table_io.find_table(settings, "corrections"), corrections, run_id)
    rejects.write_rejects(connection, settings, targets.rejects)
