"""Batches of a run: the whole work list, and at the end, one by one, the users who were skipped.

Each batch is some users with all months of the run, read without locks and written in one transaction (``batch``).
Where a run has one batch, the change check has read and computed it already; its result is written if accounts, rows
and ledger are still the same.

A batch never waits for a lock for long: users whom another transaction has locked, or whose rows have changed since
they were read, are skipped, and done later, one at a time (``run_single``). So the application's transactions are never
ended by a run, and wait for one batch at most.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import polars as pl
import psycopg

from jobs.domain.errors import RefusedError
from jobs.domain.work_list import WorkList
from jobs.pipeline.batch import BatchWriter, compute_batch
from jobs.pipeline.batch_changes import BatchChanges
from jobs.pipeline.batch_input import BatchInput
from jobs.pipeline.batch_reading import read_input
from jobs.pipeline.run_totals import Totals
from jobs.pipeline.workers import run_side_by_side
from jobs.postgres import accounts, usage_writeback
from jobs.postgres.connections import Connection, ReconnectingConnection, transaction
from jobs.postgres.errors import LOCK_ERRORS, REFUSED_AT_COMMIT, retry
from jobs.postgres.run_lock import check_ownership
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_reader import Reader
from jobs.postgres.usage_writeback import ConcurrentChangeError

PASSES = 3
"""How often the skipped users are tried one by one. Users who are locked for longer are left to the next run."""
MOST_SET_ASIDE = 20
"""How many users the application's tables may refuse before the run ends: then the cause is not in single users."""
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
    """Reads, computes and writes batches of a run.

    - ``batch_number``: of this batch in rollup.touched_days;
    - ``check``: called with the changes before they are written (rollups.changes.CHANGES), raises to prevent that;
    - ``computed``: at most one result, of the change check. It is a list because copies of this runner share it: the
      first ``run`` removes it and writes it. Another try reads again, because the first may have been committed.
    """

    scope: RunScope
    reader: Reader
    run_id: int | None
    batch_number: int = 0
    check: Callable[[pl.DataFrame], None] = field(default=lambda _: None)
    computed: list[BatchResult] = field(default_factory=list)

    def run(self, connection: Connection, users: Collection[str]) -> BatchResult:
        """Computes ``users`` and writes what differs, in a transaction of its own."""
        computed = self.computed.pop() if self.computed else None
        changes = None if computed is None else computed.changes
        if computed is None or changes is None:
            inputs, unexplained = self._read(connection, self.reader, users)
        else:
            inputs, unexplained = changes.targets.inputs, computed.unexplained
        try:
            with transaction(connection, lock_timeout=BATCH_LOCK_TIMEOUT):
                return self._write(connection, inputs, unexplained, changes)
        except (psycopg.Error, RefusedError, ConcurrentChangeError) as error:
            return _failed(inputs.users, error, inputs.rows_read, unexplained)

    def run_within(self, connection: Connection, users: Collection[str]) -> BatchResult:
        """Computes ``users`` and writes what differs, in the caller's transaction. Locks stay until that ends.

        Raises ConcurrentChangeError, RefusedError, or psycopg.Error (LOCK_ERRORS) if a lock was not available in time.
        """
        connection.execute(f"SET LOCAL lock_timeout = '{BATCH_LOCK_TIMEOUT}'".encode())
        return self._write(connection, *self._read(connection, Reader("copy", self.reader.address), users))

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
                return self._write(connection, inputs, unexplained, is_single=True)
        except (psycopg.Error, RefusedError) as error:
            return _failed(users, error)

    def compute(self, connection: Connection, users: Collection[str]) -> BatchResult:
        """Computes what ``run`` would write, read-only, in the caller's transaction."""
        inputs, unexplained = self._read(connection, self.reader, users)
        changes = compute_batch(connection, self.scope, inputs)
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

    def _write(
        self,
        connection: Connection,
        inputs: BatchInput,
        unexplained: Mapping[str, str],
        changes: BatchChanges | None = None,
        *,
        is_single: bool = False,
    ) -> BatchResult:
        writer = BatchWriter(self.scope, self._run_id, self.batch_number, self.check)
        changes = writer.write(connection, inputs, changes, is_single=is_single)
        done = frozenset[str]() if changes is None else changes.targets.users
        return BatchResult(done, inputs.users - done, inputs.rows_read, changes, unexplained=unexplained)

    @property
    def _run_id(self) -> int:
        assert self.run_id is not None  # noqa: S101 - a dry run only computes
        return self.run_id


def run_batches(
    links: Sequence[ReconnectingConnection],
    runner: BatchRunner,
    work: WorkList,
    totals: Totals,
    progress: Callable[[str, int, int | None], None],
) -> None:
    """Computes and writes all users of ``work``, and adds the results to ``totals``.

    Users who stay locked are in ``totals.skipped``, users who cannot be written in ``totals.set_aside``. Raises
    RefusedError if these are too many.
    """

    def run_one(link: ReconnectingConnection, numbered: tuple[int, list[str]]) -> list[BatchResult]:
        number, users = numbered
        results = []
        for result in _run_or_split(link, replace(runner, batch_number=number), users):
            results.append(result)
            _check_refused([each.refused for each in results if each.refused is not None])
        return results

    for number, results in enumerate(run_side_by_side(links, run_one, enumerate(work)), start=1):
        for result in results:
            totals.add(result)
        _check_refused([reason for user, reason in totals.set_aside.items() if user not in totals.unexplained])
        progress("compute and write", number, len(work))
    single_runner = replace(runner, batch_number=len(work))
    for _ in range(PASSES):
        for user in sorted(totals.skipped):
            totals.add(retry(partial(_run_single, links[0], single_runner, user)))
        if not totals.skipped:
            return


def _check_refused(reasons: Sequence[str]) -> None:
    if len(reasons) > MOST_SET_ASIDE:
        raise RefusedError(
            f"more than {MOST_SET_ASIDE} users cannot be written; the last one because of: {reasons[-1]}"
        )


def _run_or_split(link: ReconnectingConnection, runner: BatchRunner, users: Sequence[str]) -> Iterator[BatchResult]:
    """Runs a batch. If it fails, runs its two halves, until the user who is the cause is alone."""
    result = retry(lambda: runner.run(link.connection, users))
    if not result.failed or len(users) == 1:
        yield result
        return
    middle = len(users) // 2
    for half in (users[:middle], users[middle:]):
        yield from _run_or_split(link, runner, half)


def _run_single(link: ReconnectingConnection, runner: BatchRunner, user: str) -> BatchResult:
    return runner.run_single(link.connection, user)


def _failed(
    users: frozenset[str], error: Exception, rows_read: int = 0, unexplained: Mapping[str, str] | None = None
) -> BatchResult:
    """Returns the result of a batch that has written nothing. Raises ``error`` if rows of a user are not its cause."""
    refused = _describe_refusal(error)
    return BatchResult(frozenset(), users, rows_read, failed=True, refused=refused, unexplained=unexplained or {})


def _describe_refusal(error: Exception) -> str | None:
    """Returns why the application's tables refuse a batch; None for a lock or a concurrent change. Raises all other
    errors."""
    if isinstance(error, RefusedError):
        return str(error)
    if isinstance(error, ConcurrentChangeError):
        return None
    if isinstance(error, psycopg.Error):
        state = error.sqlstate or ""
        if state in LOCK_ERRORS:
            return None
        if state.startswith(REFUSED_AT_COMMIT):
            return f"the server refuses it at COMMIT ({state}): {' '.join(str(error.diag.message_primary).split())}"
    raise error
