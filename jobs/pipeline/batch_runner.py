"""One batch: some users with all months of the run, read without locks and written in one transaction.

::

    read, rate                no lock
    BEGIN
    ownership check           our row of rollup.runs still says running
    lock accounts             SKIP LOCKED: never waits
    compute                   draws, roll-ups: now the rows to write are known
    lock usage rows           SKIP LOCKED
    verify                    the server's fingerprints of the users equal those of the rows that were read
    compare                   with the stored rows: only what differs is written
    write, COMMIT             ledger, transactions, accounts, usage rows, roll-ups, rejects

Where a run has one batch, the change check has read and computed it before BEGIN; that is written if accounts, rows and
ledger are still the same.

Users leave the batch before anything is written if another transaction has locked something of theirs, or if their
rows have changed since they were read. They are done later, one at a time (``run_single``). So the application's
transactions are never ended by a run, and wait for one batch at most.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import polars as pl
import psycopg

from jobs.domain.errors import RefusedError
from jobs.pipeline.batch_changes import BatchChanges
from jobs.pipeline.batch_computation import compute_targets, find_changes
from jobs.pipeline.batch_input import BatchInput
from jobs.pipeline.batch_reading import read_input
from jobs.postgres import accounts, detection, usage_writeback
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.errors import LOCK_ERRORS, REFUSED_AT_COMMIT
from jobs.postgres.run_lock import check_ownership
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_reader import Reader
from jobs.postgres.usage_writeback import ConcurrentChangeError

BATCH_LOCK_TIMEOUT = "500ms"
"""How long a batch waits for a lock that it cannot skip (of a foreign key). It is less than the server's
deadlock_timeout, after which the server might end the application's transaction."""
SINGLE_LOCK_TIMEOUT = "1s"
"""How long the batch of a single user waits for the account, while it has no locks."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of one batch.

    - ``done``: users who were written, in a dry run computed; ``changes``: their changes;
    - ``skipped``: users who could not be written;
    - ``failed``: whether the batch failed, because of any one of its users; ``refused``: the reason, if a constraint,
      trigger or policy of the application's tables refused;
    - ``unexplained``: users who were neither written nor skipped, and why their credits are unexplained.
    """

    done: frozenset[str]
    skipped: frozenset[str]
    rows_read: int
    changes: BatchChanges | None = None
    failed: bool = False
    refused: str | None = None
    unexplained: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchRunner:
    """Computes and writes batches of a run.

    - ``batch_number``: of this batch in rollup.touched_days;
    - ``check``: called with the changes before they are written (rollups.changes.CHANGES), raises to prevent that;
    - ``precomputed``: at most one result, of the change check. The first ``run`` removes it, and writes it if nothing
      has changed since. Another try reads again, because the first may have been committed.
    """

    scope: RunScope
    reader: Reader
    run_id: int | None
    batch_number: int = 0
    check: Callable[[pl.DataFrame], None] = field(default=lambda _: None)
    precomputed: list[BatchResult] = field(default_factory=list)

    def run(self, connection: Connection, users: Collection[str]) -> BatchResult:
        """Computes ``users`` and writes what differs, in a transaction of its own."""
        computed = self.precomputed.pop() if self.precomputed else None
        if computed is None or computed.changes is None:
            inputs, unexplained = self._read(connection, self.reader, users)
            return replace(self._write_or_fail(connection, inputs), unexplained=unexplained)
        changes = computed.changes
        return replace(
            self._write_or_fail(connection, changes.targets.inputs, changes), unexplained=computed.unexplained
        )

    def _write_or_fail(
        self, connection: Connection, inputs: BatchInput, computed: BatchChanges | None = None
    ) -> BatchResult:
        try:
            with transaction(connection, lock_timeout=BATCH_LOCK_TIMEOUT):
                return self._write(connection, inputs, computed)
        except ConcurrentChangeError:
            return BatchResult(frozenset(), inputs.users, inputs.rows_read, failed=True)
        except (psycopg.Error, RefusedError) as error:
            return BatchResult(frozenset(), inputs.users, inputs.rows_read, failed=True, refused=_refusal(error))

    def run_within(self, connection: Connection, users: Collection[str]) -> BatchResult:
        """Computes ``users`` and writes what differs, in the caller's transaction. Locks stay until that ends.

        Raises ConcurrentChangeError, RefusedError, or psycopg.Error (LOCK_ERRORS) if a lock was not available in time.
        """
        connection.execute(f"SET LOCAL lock_timeout = '{BATCH_LOCK_TIMEOUT}'".encode())
        inputs, unexplained = self._read(connection, Reader("copy", self.reader.address), users)
        return replace(self._write(connection, inputs), unexplained=unexplained)

    def run_single(self, connection: Connection, user: str) -> BatchResult:
        """Computes one user and writes what differs. Account and rows are locked before they are read.

        It waits for the account while it has no lock on the application's tables; the rows are locked at once, or the
        batch fails. Later only a foreign key may make it wait.
        """
        users, scope = frozenset([user]), self.scope
        try:
            with transaction(connection, lock_timeout=SINGLE_LOCK_TIMEOUT):
                check_ownership(connection, scope.settings, self._run_id)
                accounts.lock_accounts(connection, scope.settings, scope.credits, users, wait=True)
                if scope.writes_usage:
                    usage_writeback.lock_users(connection, scope, users)
                inputs, unexplained = self._read(connection, Reader("copy", self.reader.address), users)
                return replace(self._write(connection, inputs, is_single=True), unexplained=unexplained)
        except (psycopg.Error, RefusedError) as error:
            return BatchResult(frozenset(), users, 0, failed=True, refused=_refusal(error))

    def compute(self, connection: Connection, users: Collection[str]) -> BatchResult:
        """Computes what ``run`` would write, read-only, in the caller's transaction."""
        inputs, unexplained = self._read(connection, self.reader, users)
        account_rows = accounts.read_accounts(connection, self.scope.settings, self.scope.credits, inputs.account_users)
        targets = compute_targets(connection, self.scope, inputs, account_rows)
        hash_changes = usage_writeback.compute_hash_changes(connection, self.scope, targets.usage_updates)
        changes = find_changes(connection, targets, hash_changes, None)
        return BatchResult(inputs.users, frozenset(), inputs.rows_read, changes, unexplained=unexplained)

    def _read(
        self, connection: Connection, reader: Reader, users: Collection[str]
    ) -> tuple[BatchInput, Mapping[str, str]]:
        """Reads ``users``; returns the input of those who are not set aside, and why the others are."""
        inputs = read_input(connection, reader, self.scope, users, self.run_id)
        trusting, adopting = self.scope.trusted_ledger_users, self.scope.adopted_users
        unexplained = {
            user: why.reason
            for user, why in inputs.unexplained.items()
            if user not in trusting and not (why.is_adoptable and user in adopting)
        }
        return inputs.without(unexplained), unexplained

    @property
    def _run_id(self) -> int:
        assert self.run_id is not None  # noqa: S101 - a dry run only computes
        return self.run_id

    def _write(
        self,
        connection: Connection,
        inputs: BatchInput,
        computed: BatchChanges | None = None,
        *,
        is_single: bool = False,
    ) -> BatchResult:
        """Computes ``inputs`` and writes what differs. ``computed``: the changes of these inputs as computed before."""
        scope, users, rows_read = self.scope, inputs.users, inputs.rows_read
        if not is_single:
            check_ownership(connection, scope.settings, self._run_id)
        locked, skipped = accounts.lock_accounts(
            connection, scope.settings, scope.credits, inputs.account_users, wait=is_single
        )
        inputs = inputs.without(skipped)
        # An account that was opened meanwhile is not locked, so it is left to the next run.
        account_rows = accounts.read_accounts(connection, scope.settings, scope.credits, locked)
        changes = computed if computed is not None and computed.is_of(inputs, account_rows) else None
        targets = changes.targets if changes else compute_targets(connection, scope, inputs, account_rows)
        hash_changes, missing = usage_writeback.lock_rows(connection, scope, targets.usage_updates, is_locked=is_single)
        missing |= usage_writeback.lock_unread_rows(connection, scope, targets.unread)
        not_writable = missing | self._changed_users(connection, inputs)
        targets = targets.without(not_writable)
        if not targets.users:
            return BatchResult(frozenset(), users, rows_read)
        # If nobody has left, the changes of the change check still hold.
        if changes is None or changes.targets is not targets:
            changes = find_changes(connection, targets, hash_changes, self._run_id)
        self.check(changes.list_changes())
        changes.write(connection, self._run_id, self.batch_number, not_writable)
        return BatchResult(targets.users, users - targets.users, rows_read, changes)

    def _changed_users(self, connection: Connection, inputs: BatchInput) -> frozenset[str]:
        """Returns users whose rows or ledger entries have changed since they were read."""
        now = detection.read_fingerprints(connection, self.scope, inputs.users)
        then = {
            (user, month): (rows, usage, written)
            for user, month, rows, usage, written in inputs.fingerprints.select(
                "user_id", "month", "row_count", "usage_hash", "written_hash"
            ).iter_rows()
        }
        changed = {user for (user, _), _ in now.items() ^ then.items()}
        if self.scope.credits.has_accounts:
            # Only runs should post to the ledger. This finds postings of any other program.
            posted = detection.count_draws(connection, self.scope, inputs.users)
            changed |= {user for user, _ in posted.items() ^ dict(inputs.entry_counts.iter_rows()).items()}
        return frozenset(changed)


def _refusal(error: psycopg.Error | RefusedError) -> str | None:
    """Returns why the application's tables refuse a batch, or None for a lock error. Raises every other error."""
    if isinstance(error, RefusedError):
        return str(error)
    state = error.sqlstate or ""
    if state in LOCK_ERRORS:
        return None
    if not state.startswith(REFUSED_AT_COMMIT):
        raise error
    return f"the server refuses it at COMMIT ({state}): {' '.join(str(error.diag.message_primary).split())}"
