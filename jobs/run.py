"""The story of one run: read → price → roll up → write. The order of the stages stands here and nowhere else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from time import perf_counter

import psycopg

from jobs import brake, ending, log
from jobs.agreed import ADOPTION, BEGIN, Parts
from jobs.chunks import Chunks
from jobs.compute.changes import NONE
from jobs.compute.exact import in_decimals
from jobs.model.backfill import Backfill
from jobs.model.errors import UnreachableError, UsageJobsError
from jobs.model.report import Report
from jobs.plan import Plan, planned
from jobs.reading import read_own, read_usage
from jobs.reporting import reported
from jobs.settings import Settings
from jobs.store import accounts, adoption, modes, pooling, preflight, runlog
from jobs.store.address import Address
from jobs.store.adoption import Adopted
from jobs.store.database import Connection, Link, linked, transaction
from jobs.store.faults import retried
from jobs.store.guard import guarded, name_of_work, pass_fence
from jobs.store.preflight import Source
from jobs.store.spill import Spill
from jobs.store.team import Team
from jobs.sums import Sums
from jobs.telling import told_adoption, told_begin

Progress = Callable[[str, int, int | None], None]
"""Called with a stage's name, how much of it is done, and how much there is (None: not known)."""


@dataclass(frozen=True, slots=True)
class Job:
    """What was asked for: `run --date day` or a backfill, on a clock that says ``today`` (UTC).

    ``ran_out``: where to write which users' prepaid usage is not covered; nowhere else are they named. ``who``: for
    the run log.
    """

    settings: Settings
    address: Address
    today: date
    day: date | None = None
    backfill: Backfill | None = None
    dry_run: bool = False
    allow_shrink: bool = False
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


def perform(job: Job) -> Report:
    """A run covers every open month up to the last day, a backfill what it names (DESIGN section 3); says what it did.

    Raises UsageJobsError: its class and ``exit_code`` tell what is wrong (DESIGN section 6).
    """
    # The guard before anything else: its pings notice when the way to the server is dead.
    name = name_of_work(job.settings)
    with linked(job.address, name) as link, Team(link) as team, guarded(job.address, job.settings, team):
        with job.stage("check"):
            source, findings = retried(lambda: preflight.source(link.connection, job.settings))
            preflight.refuse(findings)
        if job.dry_run:
            return _within_limits(*retried(lambda: _tried(job, link, source, None)))
        agreed = _agreed(job, link, source)
        if not retried(lambda: pooling.is_transaction_pooled(job.address, link.connection)):
            team.grow(job.address, name, job.settings.workers)
        return _logged(job, team, source, agreed)


def _within_limits(report: Report, sums: Sums) -> Report:
    """A dry run tells what is beyond the limits as the run would: by refusing."""
    sums.told.keep_within_limits()
    return report


def _agreed(job: Job, link: Link, source: Source) -> Parts | None:
    """What may be written, where that is less than everything: all of it computed before the first write."""
    asked = job.backfill
    if asked is None or (asked.plan is None and not asked.limits.any):
        return None
    begun = None
    if asked.plan is not None:
        with transaction(link.connection) as connection:
            stored = runlog.begun_plan(connection, job.settings, asked.plan)
        begun = None if stored is None else Parts.of(stored)
    _, sums = retried(lambda: _tried(job, link, source, begun))
    sums.told.keep_within_limits()
    return sums.told.agreed(asked.plan, sums.chunks, begun)


def _tried(job: Job, link: Link, source: Source, begun: Parts | None) -> tuple[Report, Sums]:
    """A dry run: what a run decides on its way (how users pay, what is adopted) is decided, and undone at the end.

    ``begun``: in whose chunks.
    """
    sums = Sums.of(job.backfill)
    with transaction(link.connection, undone=True) as connection:
        with job.stage("plan"):
            before = modes.recorded(connection, job.settings)
            plan = planned(connection, job.settings, source, job.asked, job.today)
            _record_modes(connection, plan, before, 0, sums)
        report = _worked(job, Team(link), plan, None, sums, begun)
        if connection.closed:
            # What was decided at the beginning went with it: the rest was tried on a database without that.
            raise UnreachableError("the connection broke in the middle of the dry run")
        return report, sums


def _begun(job: Job, link: Link, source: Source, sums: Sums, parts: Parts | None) -> tuple[Plan, int]:
    """The plan, and the number of our row in rollup.runs; tried again, an earlier row of ours is marked crashed."""
    with runlog.beginning(link.connection, job.settings) as connection:
        before = modes.recorded(connection, job.settings)
        plan = planned(connection, job.settings, source, job.asked, job.today)
        names = [meter.name for meter in plan.meters]
        rates_hash = job.settings.rate_card.digest(names, plan.window.first, plan.window.last)
        if plan.backfill is not None:
            sums.continues = runlog.interrupted(connection, job.settings, plan.window)
        kept = None if parts is None else parts.as_json()
        told = {"rates_hash": rates_hash, "reason": plan.reason, "who": job.who, "plan": kept}
        run_id = runlog.begin(connection, job.settings, plan.kind, plan.window, **told)
        _record_modes(connection, plan, before, run_id, sums)
    return plan, run_id


def _logged(job: Job, team: Team, source: Source, parts: Parts | None) -> Report:
    """The work, with its first and last word in rollup.runs."""
    link, sums = team.link, Sums.of(job.backfill, parts)
    with job.stage("plan"):
        plan, run_id = retried(lambda: _begun(job, link, source, sums, parts))
        log.of_run(run_id)
    try:
        return _worked(job, team, plan, run_id, sums, parts)
    except BaseException as error:
        # Where even this fails the row says running, and the next run marks it crashed.
        with suppress(psycopg.Error, UsageJobsError):
            word = str(error) if isinstance(error, UsageJobsError) else f"{type(error).__name__}: {error}".rstrip(": ")
            figures = {"rows_changed": sums.changed.total(), "error": job.address.scrubbed(word)}
            with transaction(link.connection) as connection:
                runlog.finish(connection, job.settings, run_id, "failed", **figures)
        raise


def _record_modes(connection: Connection, plan: Plan, before: date | None, run_id: int, sums: Sums) -> None:
    """A run that covers new days records how users pay; what it finds holds from the day after those covered."""
    held, found = plan.query.read.credits, []
    if before is None or plan.window.last > before:
        found = modes.append(connection, plan.settings, held, before, run_id)
        sums.changed["billing_modes"] = len(found)
    sums.told.add(BEGIN, told_begin(found) if plan.told else NONE)


def _worked(job: Job, team: Team, plan: Plan, run_id: int | None, sums: Sums, parts: Parts | None) -> Report:
    link, settings = team.link, job.settings
    with Spill(settings.max_rows_per_chunk) as spill:
        with job.stage("read"):
            reading = retried(lambda: read_usage(link.connection, job.address, plan, spill, job.progress, team.others))
            if not job.allow_shrink:
                brake.hold(plan, reading)
            if run_id is not None:
                retried(lambda: _keep_modes(link, plan, run_id))
            adopted = retried(lambda: _adopted(link, plan, run_id, sums))
            booked = retried(lambda: read_own(link.connection, plan, spill, sparing=True))
            sums.unusable = retried(lambda: accounts.unusable(link.connection, settings, plan.query.read.credits))
        with job.stage("compute and write"):
            # Of a plan the same chunks, whatever has been written since.
            sums.chunks = spill.chunks(len(team.workers), None if parts is None else parts.chunks)
            Chunks(team.workers, plan, run_id, spill, sums, sums.chunks, booked, reading.bad).run(job.progress)
        with job.stage("finish"):
            retried(lambda: ending.finish(link.connection, plan, run_id, reading, sums))
    report = reported(job.seconds, plan, run_id, reading, sums, adopted)
    return report if job.ran_out is None else _with_names(report, sums, job.ran_out)


def _with_names(report: Report, sums: Sums, file: Path) -> Report:
    """Writes who ran out of credit; the run is done, so that a full disk is a note and no failure."""
    try:
        sums.without_credit.with_columns(in_decimals("uncovered")).write_csv(file)
    except OSError as error:
        return replace(report, notes=(*report.notes, f"--ran-out {file} could not be written: {error.strerror}"))
    return report


def _adopted(link: Link, plan: Plan, run_id: int | None, sums: Sums) -> Adopted | None:
    """The draws of another program, once."""
    held, found = plan.query.read.credits, None
    with transaction(link.connection) as connection:
        if run_id is not None:
            pass_fence(connection, plan.settings, run_id)
        if adoption.is_due(connection, plan.settings, held):
            found = adoption.adopt(connection, plan.settings, held, logged=run_id is not None)
        sums.told.add(ADOPTION, told_adoption(found) if plan.told else NONE)
    return found


def _keep_modes(link: Link, plan: Plan, run_id: int) -> None:
    with transaction(link.connection) as connection:
        pass_fence(connection, plan.settings, run_id)
        runlog.keep_modes(connection, plan.settings, plan.modes)
