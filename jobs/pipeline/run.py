"""One run: plan → detect → check → batches → finalize → summary. The order of the stages is here and nowhere else."""

import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import psycopg
import structlog

from jobs.domain.backfill_request import Backfill
from jobs.domain.check_tokens import LargeChange, Shrink
from jobs.domain.errors import RefusedError, StoppedError, UsageJobsError
from jobs.domain.run_report import Report
from jobs.domain.work_list import WorkList
from jobs.pipeline.change_check import check_change
from jobs.pipeline.finalize import Closing, Finalized, UnsettledError, finalize, preview, ran_out_rows
from jobs.pipeline.output_files import replace_private
from jobs.pipeline.plan import Plan, make_plan
from jobs.pipeline.run_inputs import compare_overrides
from jobs.pipeline.run_summary import summarize
from jobs.pipeline.run_totals import Totals
from jobs.pipeline.shrink_check import check_shrink
from jobs.pipeline.workers import Workers
from jobs.postgres import adoption, detection, pooler, preflight, price_overrides, run_log, server_clock
from jobs.postgres.adoption import Adopted
from jobs.postgres.connections import Connection, ReconnectingConnection, open_link, transaction
from jobs.postgres.conninfo import Address
from jobs.postgres.credit_capabilities import unusable_accounts
from jobs.postgres.detection import Detected
from jobs.postgres.errors import retry
from jobs.postgres.input_counts import count_inputs
from jobs.postgres.month_figures import month_figures
from jobs.postgres.preflight import SourceCapabilities
from jobs.postgres.reader_choice import choose_reader, for_rows
from jobs.postgres.run_lock import check_ownership, hold_run_lock, name_of_work
from jobs.settings import Settings

if TYPE_CHECKING:
    from jobs.pipeline.batch import Batch, BatchResult
    from jobs.postgres.usage_reader import Reader

Progress = Callable[[str, int, int | None], None]
"""Called with a stage's name, how much of it is done, and how much there is (None: not known)."""
CLOSING_TRIES = 3
"""How often a month that is to be closed may be found changed since its batches, before it stays open."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What was asked for: `run --date day` or a backfill.

    ``full``: everybody is recomputed, and the cluster tables rebuilt; ``allow_shrink``: how much usage may be gone;
    ``trust_ledger``, ``adopt``: users of whose unexplained credits the ledger, or the rows, are right;
    ``allow_change``: how much of what is covered may change;
    ``ran_out``: where to write which users' prepaid usage is not covered; nowhere else are they named. ``who``: for the
    run log.
    """

    settings: Settings
    address: Address
    day: date | None = None
    backfill: Backfill | None = None
    full: bool = False
    dry_run: bool = False
    allow_shrink: Collection[Shrink] = ()
    trust_ledger: Collection[str] = ()
    adopt: Collection[str] = ()
    allow_change: Collection[LargeChange] = ()
    ran_out: Path | None = None
    who: str | None = None
    progress: Progress = lambda _stage, _done, _of: None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def asked(self) -> date | Backfill | None:
        return self.backfill or self.day

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage, and tells whoever waits that it has begun."""
        started = perf_counter()
        self.progress(name, 0, None)
        yield
        self.seconds[name] = self.seconds.get(name, 0) + perf_counter() - started


def run_job(job: RunRequest) -> Report:
    """A run covers every open month up to the last day, a backfill what it names; says what it did.

    Raises UsageJobsError: its class and ``exit_code`` tell what is wrong.
    """
    # The run lock before anything else: its pings notice when the way to the server is dead.
    name = name_of_work(job.settings)
    with (
        open_link(job.address, name) as link,
        Workers(link) as workers,
        hold_run_lock(job.address, job.settings, workers),
    ):
        with job.stage("check"):
            source, findings = retry(lambda: preflight.inspect_source(link.connection, job.settings))
            preflight.refuse_findings(findings)
            pooled = retry(lambda: pooler.is_transaction_pooled(job.address, link.connection))
            reader = choose_reader(job.settings.reader, job.address, pooled=pooled)
        if job.dry_run:
            report, totals = retry(lambda: _dry_run(job, link, source, reader))
            if totals.recorder is not None:
                totals.recorder.enforce_limits()
            return report
        totals = _approved(job, link, source, reader)
        with job.stage("plan"):
            plan, run_id = retry(lambda: _begin(job, link, source, totals))
            structlog.contextvars.bind_contextvars(run_id=run_id)
        return _Run(job, workers, plan, run_id, totals, reader, 1 if pooled else job.settings.workers).perform()


def _approved(job: RunRequest, link: ReconnectingConnection, source: SourceCapabilities, reader: str) -> Totals:
    """Empty totals, with the plan that the run is compared with, where not everything may be written: all of it is
    computed before the first write."""
    asked = job.backfill
    if asked is None:
        return Totals()
    from jobs.pipeline.plan_approval import ChangeRecorder

    if asked.plan is None and not asked.limits.any:
        return Totals(recorder=ChangeRecorder(asked.limits))
    _, found = retry(lambda: _dry_run(job, link, source, reader))
    assert found.recorder is not None  # noqa: S101 - a backfill's dry run has one
    found.recorder.enforce_limits()
    return Totals(recorder=ChangeRecorder(asked.limits, found.recorder.approve(asked.plan)))


def _dry_run(
    job: RunRequest, link: ReconnectingConnection, source: SourceCapabilities, reader: str
) -> tuple[Report, Totals]:
    """What a run would write, read-only, on one snapshot; what it would write first is added to what is read."""
    from jobs.pipeline.batch import Batch
    from jobs.pipeline.change_sums import ChangeSums
    from jobs.pipeline.cluster_tables import ClusterDeltas
    from jobs.pipeline.plan_approval import ADOPTION, ChangeRecorder
    from jobs.pipeline.row_changes import adoption_changes

    settings, totals = job.settings, Totals(deltas=ClusterDeltas())
    if job.backfill is not None:
        totals.recorder = ChangeRecorder(job.backfill.limits)
    with transaction(link.connection, snapshot=True) as connection:
        with job.stage("plan"):
            plan = _planned(connection, job, source)
            adopted = None
            if plan.begins_ledger:
                adopted = adoption.adopt(connection, settings, source.credits, logged=False)
            plan = replace(plan, adopts=adopted is not None)
            if totals.recorder is not None:
                totals.recorder.add_stage(ADOPTION, adoption_changes(adopted))
            totals.unusable = unusable_accounts(connection, settings, source.credits)
        with job.stage("detect"):
            detected = detection.detect(connection, plan, plan.window.months, full=job.full or adopted is not None)
            check_shrink(plan, detected, job.allow_shrink)
            totals.ownerless = detected.ownerless
            by_month, whole = month_figures(connection, plan, plan.window.months)
            before = Finalized(whole, by_month)
        if plan.covered_to is not None:
            totals.sums = ChangeSums(plan)
        with job.stage("compute and write"):
            batch = Batch(plan, _joined_reader(job, connection, reader), None)
            for number, users in enumerate(detected.work, start=1):
                totals.add(batch.compute(connection, users))
                job.progress("compute and write", number, len(detected.work))
        # A backfill's plan is what a person looks at.
        if job.backfill is None or not (job.dry_run or job.backfill.plan):
            check_change(connection, plan, totals.sums, job.allow_change)
        with job.stage("finish"):
            ended = preview(connection, plan, totals, detected, before, full=job.full)
        if job.ran_out is not None:
            _write_ran_out(connection, plan, totals, job.ran_out)
    return summarize(job.seconds, plan, None, totals, ended, adopted), totals


def _joined_reader(job: RunRequest, connection: Connection, kind: str) -> "Reader":
    """A reader that sees what the snapshot of our transaction sees."""
    from jobs.postgres.usage_reader import Reader

    if kind != "connectorx":
        return Reader(kind, job.address)
    row = connection.execute("SELECT pg_export_snapshot()").fetchone()
    return Reader(kind, job.address, None if row is None else str(row[0]))


def _planned(connection: Connection, job: RunRequest, source: SourceCapabilities) -> Plan:
    """The plan; where it covers new days, with how users pay now, which holds from the last of them."""
    today = server_clock.today(connection)
    plan = make_plan(connection, job.settings, source, job.asked, today)
    before = run_log.last_completed_day(connection, job.settings, today)
    notes = (*plan.notes, *compare_overrides(connection, plan, before))
    if begins := adoption.is_due(connection, job.settings, source.credits):
        adoption.refuse_another_deployment(connection, job.settings, source.credits)
    return replace(
        plan,
        modes_from=plan.window.last if before is None or plan.window.last > before else None,
        begins_ledger=begins,
        trusting=frozenset(job.trust_ledger),
        adopting=frozenset(job.adopt),
        notes=notes,
        covered_to=before,
        counts=count_inputs(connection, job.settings, source),
    )


def _begin(
    job: RunRequest, link: ReconnectingConnection, source: SourceCapabilities, totals: Totals
) -> tuple[Plan, int]:
    """The plan, and the number of our row in rollup.runs; tried again, an earlier row of ours is marked crashed."""
    with run_log.starting_run(link.connection, job.settings) as connection:
        plan = _planned(connection, job, source)
        names = [meter.name for meter in plan.meters]
        rates_hash = job.settings.rate_card.digest(names, plan.window.first, plan.window.last)
        if plan.backfill is not None:
            totals.continues = run_log.interrupted(connection, job.settings, plan.window)
        kept = {"rates_hash": rates_hash, "reason": plan.reason, "who": job.who}
        run_id = run_log.enter_run(connection, job.settings, plan.kind, plan.window, **kept)
    return plan, run_id


@dataclass(frozen=True, slots=True)
class _Run:
    """A run that has its row in rollup.runs. ``reader``: "connectorx" or "copy"; ``most_workers``: that do batches."""

    job: RunRequest
    workers: Workers
    plan: Plan
    run_id: int
    totals: Totals
    reader: str
    most_workers: int

    def perform(self) -> Report:
        """The stages after the plan; where one fails, the run's row says how."""
        try:
            return self._stages()
        except BaseException as error:
            # Where even this fails the row says running, and the next run marks it crashed.
            with suppress(psycopg.Error, UsageJobsError):
                self._log_failure(error)
            raise

    def _stages(self) -> Report:
        job, link, plan = self.job, self.workers.link, self.plan
        with job.stage("detect"):
            detected = retry(lambda: self._detect(full=job.full))
            check_shrink(plan, detected, job.allow_shrink)
            self._check_change(detected)
            adopted = retry(self._prepare)
            if adopted is not None:
                detected = retry(lambda: self._detect(full=True))
            self.totals.ownerless = detected.ownerless
        self._recompute(detected.work)
        with job.stage("finish"):
            ended = self._finish()
            if job.ran_out is not None:
                with transaction(link.connection) as connection:
                    _write_ran_out(connection, plan, self.totals, job.ran_out)
        return summarize(job.seconds, plan, self.run_id, self.totals, ended, adopted)

    def _detect(self, *, full: bool) -> Detected:
        with transaction(self.workers.link.connection) as connection:
            return detection.detect(connection, self.plan, self.plan.window.months, full=full)

    def _check_change(self, detected: Detected) -> None:
        """The change check: what is to be recomputed of covered days is computed first, read-only."""
        link, plan, sums = self.workers.link, self.plan, None
        if self.totals.recorder is not None and self.totals.recorder.approved is not None:
            # A plan that was approved: each row that is written is compared with what a person has looked at.
            return
        if detected.work and plan.covered_to is not None:
            from jobs.pipeline.change_sums import compute_sums

            if plan.begins_ledger:
                # What another program has drawn is adopted after the check.
                plan, detected = replace(plan, adopts=True), retry(lambda: self._detect(full=True))
            batch = replace(self._batch(detected.work), plan=plan, run_id=None)
            sums = compute_sums(self._links(len(detected.changed) + len(detected.added)), batch, detected)
        retry(lambda: check_change(link.connection, plan, sums, self.job.allow_change))

    def _prepare(self) -> Adopted | None:
        """Keeps the cost mode of months that no run has covered, and adopts the draws of another program, once."""
        plan, found = self.plan, None
        credits = plan.query.read.credits
        with transaction(self.workers.link.connection) as connection:
            check_ownership(connection, plan.settings, self.run_id)
            fingerprints = {month: plan.fingerprints[month].text for month in plan.new_months}
            run_log.keep_cost_modes(connection, plan.settings, plan.modes, plan.currencies, fingerprints)
            self._keep_overrides(connection)
            if adoption.is_due(connection, plan.settings, credits):
                found = adoption.adopt(connection, plan.settings, credits, logged=True)
            self.totals.unusable = unusable_accounts(connection, plan.settings, credits)
            if self.totals.recorder is not None:
                from jobs.pipeline.plan_approval import ADOPTION
                from jobs.pipeline.row_changes import adoption_changes

                self.totals.recorder.add_stage(ADOPTION, adoption_changes(found))
        return found

    def _keep_overrides(self, connection: Connection) -> None:
        """Keeps which overrides are active, before anything is priced by them: a run that dies has seen them, too."""
        settings, active = self.plan.settings, self.plan.overrides.active
        if "active" not in (self.plan.query.read.overrides or ()):
            return
        before = run_log.last_completed_day(connection, settings, server_clock.today(connection))
        price_overrides.keep_seen(
            connection, settings, active, max(before or self.plan.window.last, self.plan.window.last)
        )

    def _recompute(self, work: WorkList) -> None:
        """Does the work list; where it is empty polars is not even imported."""
        if not work:
            return
        with self.job.stage("compute and write"):
            from jobs.pipeline.batches import run_batches

            run_batches(self._links(len(work)), self._batch(work), work, self.totals, self.job.progress)

    def _links(self, batches: int) -> list[ReconnectingConnection]:
        """Connections for so many batches."""
        self.workers.grow(self.job.address, name_of_work(self.job.settings), min(self.most_workers, batches))
        return self.workers.links

    def _batch(self, work: WorkList) -> "Batch":
        """How ``work`` is done."""
        from jobs.pipeline.batch import Batch
        from jobs.postgres.usage_reader import Reader

        check = self.totals.recorder.check_batch if self.totals.recorder is not None else lambda _: None
        kind = for_rows(self.reader, self.job.settings.reader, work.rows)
        return Batch(self.plan, Reader(kind, self.job.address), self.run_id, check=check)

    def _finish(self) -> Finalized:
        """Ends the run. No month closes while users are set aside, or go on to differ from what was computed."""
        for _ in range(CLOSING_TRIES):
            if self.totals.set_aside:
                break
            try:
                return retry(lambda: self._finalize(self.plan.window.closing))
            except UnsettledError as unsettled:
                self.totals.holding_up = unsettled.unusable
                if not unsettled.work:
                    break
                self._recompute(unsettled.work)
        return retry(lambda: self._finalize(frozenset()))

    def _finalize(self, closing: frozenset[date]) -> Finalized:
        connection = self.workers.link.connection
        plan, totals = self.plan, self.totals
        ended = finalize(connection, plan, self.run_id, totals, Closing(closing, self._settle), full=self.job.full)
        if ended.settled is not None:
            totals.add(ended.settled)
        return ended

    def _settle(self, connection: Connection, work: WorkList) -> "BatchResult":
        """Recomputes ``work`` in the closing transaction; UnsettledError where it is more than one batch, or somebody
        cannot be had."""
        from jobs.pipeline.batch import HELD
        from jobs.postgres.usage_writeback import ConcurrentChangeError

        one, *more = work
        if more:
            raise UnsettledError(work)
        try:
            result = self._batch(work).run_within(connection, one)
        except (ConcurrentChangeError, RefusedError):
            raise UnsettledError(work) from None
        except psycopg.Error as error:
            if error.sqlstate not in HELD:
                raise
            raise UnsettledError(work) from None
        if result.left or result.foreign:
            raise UnsettledError(work)
        return result

    def _log_failure(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            error = StoppedError(signal.SIGINT)
        named = isinstance(error, UsageJobsError | StoppedError)
        word = str(error) if named else f"{type(error).__name__}: {error}".rstrip(": ")
        figures = {"rows_changed": self.totals.changed.total(), "error": self.job.address.scrubbed(word)}
        with transaction(self.workers.link.connection) as connection:
            run_log.finish_run(connection, self.job.settings, self.run_id, "failed", **figures)


def _write_ran_out(connection: Connection, plan: Plan, totals: Totals, file: Path) -> None:
    """Writes who ran out of credit; the run is done, so that a full disk is a note and no failure."""
    from jobs.domain.schemas import in_decimals

    rows = ran_out_rows(connection, plan, totals)
    text = rows.sort("user_id", "month").with_columns(in_decimals("uncovered")).write_csv()
    try:
        replace_private(file, text.encode())
    except OSError as error:
        totals.notes.append(f"--ran-out {file} could not be written: {error.strerror}")
