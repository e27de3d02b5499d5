"""One run, and the order of its stages.

preflight (stage "check") → plan → detect, shrink check and change check ("detect") → batches ("compute and write") →
finalize ("finish") → summary.
"""

import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

import psycopg
import structlog

from jobs.domain.errors import RefusedError, StoppedError, UsageJobsError
from jobs.domain.run_report import Report
from jobs.domain.work_list import WorkList
from jobs.pipeline.change_check import check_change
from jobs.pipeline.finalize import Closing, Finalized, NotClosableError, finalize
from jobs.pipeline.planning import plan_run
from jobs.pipeline.ran_out import write_ran_out
from jobs.pipeline.run_request import RunRequest
from jobs.pipeline.run_summary import summarize
from jobs.pipeline.run_totals import Totals
from jobs.pipeline.shrink_check import check_shrink
from jobs.pipeline.workers import Workers
from jobs.postgres import adoption, detection, preflight, price_overrides, run_log
from jobs.postgres.adoption import Adoption
from jobs.postgres.connections import Connection, ReconnectingConnection, open_link, transaction
from jobs.postgres.credit_capabilities import find_unusable_accounts
from jobs.postgres.detection import Detected
from jobs.postgres.errors import LOCK_ERRORS, retry
from jobs.postgres.run_lock import check_ownership, hold_run_lock, send_pings, worker_name
from jobs.postgres.run_scope import RunScope
from jobs.postgres.source_capabilities import SourceCapabilities
from jobs.postgres.usage_reader import Reader, choose_for_rows, choose_reader, is_transaction_pooled

if TYPE_CHECKING:
    from jobs.pipeline.batches import BatchResult, BatchRunner

CLOSING_TRIES = 3
"""How often closing is tried while users keep changing. After that the months stay open."""


def run_job(request: RunRequest) -> Report:
    """Does the run that was asked for, and returns its report.

    A nightly run covers every open month up to the last day, a backfill the months of its days, and if one of them is
    open all open ones. Raises UsageJobsError with an ``exit_code``.
    """
    # The run lock comes first, because its pings notice when the server cannot be reached.
    name = worker_name(request.settings)
    with (
        open_link(request.address, name) as link,
        Workers(link) as workers,
        # A dry run takes no lock.
        (send_pings if request.dry_run else hold_run_lock)(request.address, request.settings, workers.disconnect),
    ):
        with request.stage("check"):
            source, findings = retry(lambda: preflight.inspect_source(link.connection, request.settings))
            preflight.refuse_findings(findings)
            pooled = retry(lambda: is_transaction_pooled(request.address, link.connection))
            reader_kind = choose_reader(request.settings.reader, request.address, pooled=pooled)
        if request.dry_run:
            report, totals = _compute_dry_run(request, link, source, reader_kind)
            if totals.recorder is not None:
                totals.recorder.enforce_limits()
            return report
        totals = _make_totals(request, link, source, reader_kind)
        with request.stage("plan"):
            scope, run_id = retry(lambda: _begin(request, link, source, totals))
            structlog.contextvars.bind_contextvars(run_id=run_id)
        return _Run(
            request, workers, scope, run_id, totals, reader_kind, 1 if pooled else request.settings.workers
        ).perform()


def _make_totals(
    request: RunRequest, link: ReconnectingConnection, source: SourceCapabilities, reader_kind: str
) -> Totals:
    """Returns empty totals, which the run fills.

    For a backfill with a plan or limits it computes a dry run first, to compare each batch with.
    """
    backfill = request.backfill
    if backfill is None:
        return Totals()
    from jobs.pipeline.plan_approval import ChangeRecorder

    if backfill.plan is None and not backfill.limits.any:
        return Totals(recorder=ChangeRecorder(backfill.limits))
    _, computed = _compute_dry_run(request, link, source, reader_kind)
    assert computed.recorder is not None  # noqa: S101 - a backfill's dry run has one
    computed.recorder.enforce_limits()
    return Totals(recorder=ChangeRecorder(backfill.limits, computed.recorder.approve(backfill.plan)))


def _compute_dry_run(
    request: RunRequest, link: ReconnectingConnection, source: SourceCapabilities, reader_kind: str
) -> tuple[Report, Totals]:
    from jobs.pipeline.dry_run import compute_dry_run

    return retry(lambda: compute_dry_run(request, link.connection, source, reader_kind))


def _begin(
    request: RunRequest, link: ReconnectingConnection, source: SourceCapabilities, totals: Totals
) -> tuple[RunScope, int]:
    """Returns the scope and the run_id. After a retry, the row of the earlier try is marked crashed."""
    with run_log.begin_run(link.connection, request.settings) as connection:
        scope = plan_run(
            connection, request.settings, source, request.asked, trusting=request.trust_ledger, adopting=request.adopt
        )
        names = [meter.name for meter in scope.meters]
        rates_hash = request.settings.rate_card.digest(names, scope.window.first, scope.window.last)
        if scope.backfill is not None:
            totals.continues = run_log.find_interrupted_backfill(connection, request.settings, scope.window)
        run_id = run_log.insert_run(
            connection,
            request.settings,
            scope.kind,
            scope.window,
            rates_hash=rates_hash,
            reason=scope.reason,
            who=request.who,
        )
    return scope, run_id


@dataclass(frozen=True, slots=True)
class _Run:
    """A run that has its row in rollup.runs.

    ``reader_kind``: "connectorx" or "copy"; ``most_workers``: how many connections may do batches.
    """

    request: RunRequest
    workers: Workers
    scope: RunScope
    run_id: int
    totals: Totals
    reader_kind: str
    most_workers: int

    def perform(self) -> Report:
        """Does the stages after the plan. If one fails, the error goes into the run's row."""
        try:
            return self._stages()
        except BaseException as error:
            # If this fails too, the row stays running, and the next run marks it crashed.
            with suppress(psycopg.Error, UsageJobsError):
                self._log_failure(error)
            raise

    def _stages(self) -> Report:
        request, link, scope = self.request, self.workers.link, self.scope
        with request.stage("detect"):
            detected = retry(lambda: self._detect(full=request.full))
            check_shrink(scope, detected, request.allow_shrink)
            computed = self._check_change(detected)
            adopted = retry(self._prepare)
            if adopted is not None:  # then every user with an adopted draw differs
                detected = retry(lambda: self._detect(full=True))
            self.totals.ownerless = detected.ownerless
        self._recompute(detected.work, computed)
        with request.stage("finish"):
            ended = self._finalize_run()
            if request.ran_out is not None:
                with transaction(link.connection) as connection:
                    write_ran_out(connection, scope, self.totals, request.ran_out)
        return summarize(request.seconds, scope, self.run_id, self.totals, ended, adopted)

    def _detect(self, *, full: bool) -> Detected:
        with transaction(self.workers.link.connection) as connection:
            return detection.detect(connection, self.scope, self.scope.window.months, full=full)

    def _check_change(self, detected: Detected) -> "list[BatchResult]":
        """Does the change check: computes read-only how covered days would change, and what new days cost.

        Returns what it has computed of a single batch, which then writes it; nothing if that depends on what
        ``_prepare`` stores.
        """
        scope, sums = self.scope, None
        computed: list[BatchResult] = []
        if self.totals.recorder is not None and self.totals.recorder.approved is not None:
            # The plan was approved: each row that is written is compared with it.
            return computed
        if detected.work and scope.covered_to is not None:
            from jobs.pipeline.change_sums import compute_sums

            if scope.begins_ledger:
                # Draws of another program are adopted after the check, so they are added here.
                scope, detected = replace(scope, adopts=True), retry(lambda: self._detect(full=True))
            runner = replace(self._batch_runner(detected.work), scope=scope, run_id=None)
            sums, computed = compute_sums(self._links(len(detected.work)), runner, detected)
        retry(lambda: check_change(self.workers.link.connection, scope, sums, self.request.allow_change))
        depends_on_prepare = scope.begins_ledger or scope.adopted_users or self._stores_overrides
        return [] if depends_on_prepare else computed

    def _prepare(self) -> Adoption | None:
        """Stores the cost modes of new months and the overrides seen; adopts draws of another program, once."""
        scope, adopted = self.scope, None
        credits = scope.credits
        with transaction(self.workers.link.connection) as connection:
            check_ownership(connection, scope.settings, self.run_id)
            fingerprints = {month: scope.fingerprint_definitions[month].text for month in scope.new_months}
            run_log.record_cost_modes(connection, scope.settings, scope.cost_modes, scope.currencies, fingerprints)
            self._store_overrides_seen(connection)
            if adoption.is_due(connection, scope.settings, credits):
                adopted = adoption.adopt(connection, scope.settings, credits, logged=True)
            self.totals.unusable = find_unusable_accounts(connection, scope.settings, credits)
            if self.totals.recorder is not None:
                from jobs.pipeline.plan_approval import ADOPTION
                from jobs.pipeline.row_changes import list_adoption

                self.totals.recorder.add_stage(ADOPTION, list_adoption(adopted))
        return adopted

    def _store_overrides_seen(self, connection: Connection) -> None:
        """Stores which overrides are active, before the first row is priced with them."""
        if self._stores_overrides:
            active, last = self.scope.overrides.active, self.scope.window.last
            last = max(self.scope.covered_to or last, last)
            price_overrides.record_seen(connection, self.scope.settings, active, last)

    @property
    def _stores_overrides(self) -> bool:
        return "active" in (self.scope.source.overrides or ())

    def _recompute(self, work: WorkList, computed: "Sequence[BatchResult]" = ()) -> None:
        """Computes and writes the work list. If it is empty, polars is not imported.

        ``computed``: what was computed of it before.
        """
        if not work:
            return
        with self.request.stage("compute and write"):
            from jobs.pipeline.batches import run_batches

            runner = replace(self._batch_runner(work), computed=list(computed))
            run_batches(self._links(len(work)), runner, work, self.totals, self.request.progress)

    def _links(self, batches: int) -> list[ReconnectingConnection]:
        """Returns connections for this many ``batches``."""
        self.workers.grow(self.request.address, worker_name(self.request.settings), min(self.most_workers, batches))
        return self.workers.links

    def _batch_runner(self, work: WorkList) -> "BatchRunner":
        from jobs.pipeline.batches import BatchRunner

        check = self.totals.recorder.check_batch if self.totals.recorder is not None else lambda _: None
        kind = choose_for_rows(self.reader_kind, self.request.settings.reader, work.rows)
        return BatchRunner(self.scope, Reader(kind, self.request.address), self.run_id, check=check)

    def _finalize_run(self) -> Finalized:
        """Ends the run. No month closes while users are set aside, or keep changing."""
        for _ in range(CLOSING_TRIES):
            if self.totals.set_aside:
                break
            try:
                return retry(lambda: self._try_finalize(self.scope.window.closing))
            except NotClosableError as not_closable:
                self.totals.holding_up = not_closable.unusable
                if not not_closable.work:
                    break
                self._recompute(not_closable.work)
        return retry(lambda: self._try_finalize(frozenset()))

    def _try_finalize(self, closing_months: frozenset[date]) -> Finalized:
        connection = self.workers.link.connection
        scope, totals = self.scope, self.totals
        ended = finalize(
            connection,
            scope,
            self.run_id,
            totals,
            Closing(closing_months, self._recompute_within),
            full=self.request.full,
        )
        if ended.closing_result is not None:
            totals.add(ended.closing_result)
        return ended

    def _recompute_within(self, connection: Connection, work: WorkList) -> "BatchResult":
        """Recomputes ``work`` in the closing transaction.

        Raises NotClosableError if it is more than one batch, or a user is locked or set aside.
        """
        from jobs.postgres.usage_writeback import ConcurrentChangeError

        users, *others = work
        if others:
            raise NotClosableError(work)
        try:
            result = self._batch_runner(work).run_within(connection, users)
        except (ConcurrentChangeError, RefusedError):
            raise NotClosableError(work) from None
        except psycopg.Error as error:
            if error.sqlstate not in LOCK_ERRORS:
                raise
            raise NotClosableError(work) from None
        if result.skipped or result.unexplained:
            raise NotClosableError(work)
        return result

    def _log_failure(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            error = StoppedError(signal.SIGINT)
        is_expected = isinstance(error, UsageJobsError | StoppedError)
        text = str(error) if is_expected else f"{type(error).__name__}: {error}".rstrip(": ")
        figures = {"rows_changed": self.totals.changed.total(), "error": self.request.address.hide_password(text)}
        with transaction(self.workers.link.connection) as connection:
            run_log.finish_run(connection, self.request.settings, self.run_id, "failed", **figures)
