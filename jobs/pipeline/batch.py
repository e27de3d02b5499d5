"""One batch: some users with all months of the run, computed without a lock and written in one transaction.

::

    read, rate                no lock
    BEGIN
    ownership check           our row of rollup.runs still says running
    lock accounts             SKIP LOCKED: nobody is waited for
    allocate                  which rows are to be written is known now
    lock usage rows           SKIP LOCKED
    verify                    the server's fingerprints of the users are those of the rows that were read
    write, COMMIT             ledger, transactions, accounts, usage rows, roll-ups, rejects

Users of whom something was locked by others, or is no longer what was read, leave the batch before anything is written;
they come later, one at a time (``run_single``). So the application's transactions are never killed, and wait for one
batch at most.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import polars as pl
import psycopg

from jobs.domain.errors import RefusedError
from jobs.pipeline.batch_changes import BatchChanges, compute_changes
from jobs.pipeline.batch_input import BatchInput, read_input
from jobs.pipeline.plan import Plan
from jobs.postgres import accounts, detection, usage_writeback
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.run_lock import check_ownership
from jobs.postgres.usage_reader import Reader
from jobs.postgres.usage_writeback import ConcurrentChangeError

UNFORESEEN = "500ms"
"""How long a batch waits for a lock that it could not foresee (a foreign key's): less than the server's
deadlock_timeout, after which the application's transaction might be the one that is ended."""
LOCK_TIMEOUT = "1s"
"""How long a single user waits for his account, while nothing is locked."""
HELD = ("55P03", "40P01")
"""What the server says where a lock could not be had in time, or two waited for each other."""
REFUSED = ("23", "P0")
"""What it says at COMMIT where a constraint or a trigger that waited until then refuses what was written."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """``done``: users who were written; ``left``: users who could not be; ``changes``: of those done; ``failed``:
    no user was written; which of them is the cause is not known. ``refused``: what the application's tables say of it,
    where it is they who refused. ``foreign``: users who are neither, because their rows show credits that nothing
    explains, and how."""

    done: frozenset[str]
    left: frozenset[str]
    rows_read: int
    changes: BatchChanges | None = None
    failed: bool = False
    refused: str | None = None
    foreign: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """How batches of a run are done. ``number``: of this one, in rollup.touched_days; ``check``: hears what is about to
    be committed (changes.CHANGES), and may raise."""

    plan: Plan
    reader: Reader
    run_id: int | None
    number: int = 0
    check: Callable[[pl.DataFrame], None] = field(default=lambda _: None)

    def run(self, connection: Connection, users: Collection[str]) -> BatchResult:
        """Computes ``users`` and writes what differs."""
        read, foreign = self._read(connection, self.reader, users)
        return replace(self._run(connection, read), foreign=foreign)

    def _run(self, connection: Connection, read: BatchInput) -> BatchResult:
        try:
            with transaction(connection, lock_timeout=UNFORESEEN):
                return self._write(connection, read, read.rows_read, wait=False)
        except ConcurrentChangeError:
            return BatchResult(frozenset(), read.users, read.rows_read, failed=True)
        except (psycopg.Error, RefusedError) as error:
            return BatchResult(frozenset(), read.users, read.rows_read, failed=True, refused=_refusal(error))

    def run_within(self, connection: Connection, users: Collection[str]) -> BatchResult:
        """The same in the caller's transaction: what is locked stays so until that ends.

        Raises ConcurrentChangeError, RefusedError, or what the server says where a lock could not be had in time.
        """
        connection.execute(f"SET LOCAL lock_timeout = '{UNFORESEEN}'".encode())
        read, foreign = self._read(connection, Reader("copy", self.reader.address), users)
        return replace(self._write(connection, read, read.rows_read, wait=False), foreign=foreign)

    def run_single(self, connection: Connection, user: str) -> BatchResult:
        """The same for one user, who is locked before he is read: nothing of his moves then. It waits for his account
        only, while it holds nothing that anybody could wait for; his rows are had at once, or not at all."""
        alone, plan = frozenset([user]), self.plan
        try:
            with transaction(connection, lock_timeout=LOCK_TIMEOUT):
                check_ownership(connection, plan.settings, self._run_id)
                accounts.lock_accounts(connection, plan.settings, plan.query.read.credits, alone, wait=True)
                if plan.writes_usage:
                    usage_writeback.lock_users(connection, plan, alone)
                read, foreign = self._read(connection, Reader("copy", self.reader.address), alone)
                return replace(self._write(connection, read, read.rows_read, wait=True), foreign=foreign)
        except (psycopg.Error, RefusedError) as error:
            return BatchResult(frozenset(), alone, 0, failed=True, refused=_refusal(error))

    def compute(self, connection: Connection, users: Collection[str]) -> BatchResult:
        """What ``run`` would write, computed read-only inside the caller's transaction."""
        read, foreign = self._read(connection, self.reader, users)
        account_rows = accounts.read_accounts(connection, self.plan.settings, self.plan.query.read.credits, read.paying)
        changes = (
            compute_changes(connection, self.plan, None, read, account_rows).unlocked(connection).completed(connection)
        )
        return BatchResult(read.users, frozenset(), read.rows_read, changes, foreign=foreign)

    def _read(
        self, connection: Connection, reader: Reader, users: Collection[str]
    ) -> tuple[BatchInput, Mapping[str, str]]:
        """What is read of ``users`` but those who are set aside for what their rows show, and these."""
        read = read_input(connection, reader, self.plan, users, self.run_id)
        trusting, adopting = self.plan.trusting, self.plan.adopting
        foreign = {
            user: found.reason
            for user, found in read.unexplained.items()
            if user not in trusting and not (found.is_adoptable and user in adopting)
        }
        return read.without(foreign), foreign

    @property
    def _run_id(self) -> int:
        assert self.run_id is not None  # noqa: S101 - a dry run only computes
        return self.run_id

    def _write(self, connection: Connection, read: BatchInput, rows_read: int, *, wait: bool) -> BatchResult:
        plan, everybody = self.plan, read.users
        if not wait:
            check_ownership(connection, plan.settings, self._run_id)
        locked, skipped = accounts.lock_accounts(
            connection, plan.settings, plan.query.read.credits, read.paying, wait=wait
        )
        read = read.without(skipped)
        # An account that was opened since is none of those that are locked: the next run takes it.
        account_rows = accounts.read_accounts(connection, plan.settings, plan.query.read.credits, locked)
        changes = compute_changes(connection, plan, self._run_id, read, account_rows, first=not wait)
        changes, missing = changes.locked(connection, alone=wait)
        moved = missing | self._moved(connection, read)
        if wait and moved:
            return BatchResult(frozenset(), everybody, rows_read)
        changes = changes.without(moved)
        if not changes.users:
            return BatchResult(frozenset(), everybody, rows_read)
        changes = changes.completed(connection)
        self.check(changes.listed())
        changes.write(connection, self.number, moved)
        return BatchResult(changes.users, everybody - changes.users, rows_read, changes)

    def _moved(self, connection: Connection, read: BatchInput) -> frozenset[str]:
        """The users whose rows, or whose entries in the ledger, are no longer what was read."""
        now = detection.users_fingerprints(connection, self.plan, read.users)
        then = {
            (user, month): (rows, usage, written)
            for user, month, rows, usage, written in read.fingerprints.select(
                "user_id", "month", "row_count", "usage_hash", "written_hash"
            ).iter_rows()
        }
        moved = {user for (user, _), _ in now.items() ^ then.items()}
        if self.plan.query.read.credits.account is not None:
            # Nobody but a run of ours enters anything: whoever does all the same is not overlooked.
            posted = detection.draw_counts(connection, self.plan, read.users)
            moved |= {user for user, _ in posted.items() ^ dict(read.entries.iter_rows()).items()}
        return frozenset(moved)


def _refusal(error: psycopg.Error | RefusedError) -> str | None:
    """Why the application's tables refuse a batch; None where a lock could not be had. Raises every other error."""
    if isinstance(error, RefusedError):
        return str(error)
    state = error.sqlstate or ""
    if state in HELD:
        return None
    if not state.startswith(REFUSED):
        raise error
    return f"the server refuses it at COMMIT ({state}): {' '.join(str(error.diag.message_primary).split())}"
