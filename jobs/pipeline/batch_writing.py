"""Locks the rows that a batch writes, and writes its changes, in the transaction of the batch."""

from collections.abc import Collection
from dataclasses import replace

from jobs.pipeline.batch_changes import BatchChanges
from jobs.postgres import accounts, billing_mode_history, cluster_rollups, ledger, rejects, usage_writeback
from jobs.postgres.connections import Connection
from jobs.postgres.usage_writeback import ConcurrentChangeError


def lock_rows(connection: Connection, changes: BatchChanges, *, alone: bool) -> tuple[BatchChanges, frozenset[str]]:
    """Locks the rows to be written. Returns the changes with ``written_hashes``, and users with unlocked rows.

    ``alone``: whether the batch is one user whose rows are locked already.
    """
    scope, written, missing = changes.scope, changes.written_hashes, frozenset[str]()
    if not changes.usage_updates.is_empty():
        usage_writeback.stage_rows(connection, changes.usage_updates)
        written, missing = usage_writeback.lock_rows(connection, scope, changes.usage_updates, alone=alone)
    missing |= usage_writeback.lock_unread_rows(connection, scope, changes.unread)
    return replace(changes, written_hashes=written), missing


def write_changes(connection: Connection, changes: BatchChanges, batch_number: int, skipped: Collection[str]) -> None:
    """Writes all changes. Call after ``lock_rows`` and ``find_differences``.

    ``batch_number``: of the batch in rollup.touched_days; ``skipped``: users whose staged rows are not written. Raises
    ConcurrentChangeError if a row is not as expected: the transaction must then be rolled back.
    """
    scope, settings, run_id = changes.scope, changes.scope.settings, changes.run_id
    assert run_id is not None  # noqa: S101
    found = changes.differences
    if not changes.adopted.is_empty():
        accounts.post_adopted_draws(connection, settings, changes.adopted, run_id)
    if not changes.postings.is_empty():
        posted = accounts.post_draws(connection, settings, scope.credits, changes.postings, run_id)
        if posted["credit_draws"] != changes.postings.height:
            raise ConcurrentChangeError(frozenset(changes.postings.filter("first")["user_id"]))
    if not changes.usage_updates.is_empty():
        if skipped:
            usage_writeback.unstage_users(connection, skipped)
        usage_writeback.write_rows(connection, scope, changes.usage_updates)
    usage_writeback.write_unread_rows(connection, scope, changes.unread)
    found.daily.write(connection, scope, run_id)
    cluster_rollups.touch_days(connection, scope, run_id, batch_number, found.daily.keys["date"].unique().to_list())
    found.monthly.write(connection, scope, run_id)
    found.debts.write(connection, scope, run_id)
    if entries := changes.inputs.new_billing_modes:
        known = billing_mode_history.known_entries_query(entries)
        billing_mode_history.append_entries(connection, settings, known, run_id)
    ledger.append_corrections(connection, settings, changes.corrections, scope.reason, run_id)
    rejects.write_rejects(connection, settings, changes.rejects)
