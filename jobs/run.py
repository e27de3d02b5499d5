"""The story of one run: read → price → roll up → write. The order of the stages stands here and nowhere else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from time import perf_counter

import psycopg

from jobs import brake, ending
from jobs.chunks import Chunks
from jobs.ending import Sums
from jobs.model.errors import UsageJobsError
from jobs.model.report import Report
from jobs.plan import Plan, planned
from jobs.reading import Reading, read_usage
from jobs.settings import Settings
from jobs.store import preflight, runlog, tables
from jobs.store.database import Address, Link, linked, retried, transaction
from jobs.store.guard import guarded, pass_fence
from jobs.store.spill import Spill

Progress = Callable[[str, int, int | None], None]
"""Called with a stage's name, how much of it is done, and how much there is (None: not known)."""


@dataclass(frozen=True, slots=True)
class Job:
    """What was asked for: `run --date day`, on a clock that says ``today`` (UTC)."""

    settings: Settings
    address: Address
    today: date
    day: date | None = None
    dry_run: bool = False
    allow_shrink: bool = False
    progress: Progress = lambda _stage, _done, _of: None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage, and tells whoever waits that it has begun."""
        started = perf_counter()
        self.progress(name, 0, None)
        yield
        self.seconds[name] = self.seconds.get(name, 0) + perf_counter() - started


def nightly(job: Job) -> Report:
    """Covers every open month up to the last day (DESIGN section 3), and says what it did.

    Raises UsageJobsError: its class and ``exit_code`` tell what is wrong (DESIGN section 6).
    """
    with linked(job.address) as link:
        with job.stage("check"):
            source, findings = preflight.source(link.connection, job.settings)
            preflight.refuse(findings)
        with guarded(job.address, job.settings):
            with job.stage("plan"):
                plan = planned(link.connection, job.settings, source, job.day, job.today)
            return _logged(job, link, plan)


def _logged(job: Job, link: Link, plan: Plan) -> Report:
    """The work, with its first and last word in rollup.runs; a dry run leaves none."""
    sums = Sums()
    if job.dry_run:
        return _worked(job, link, plan, None, sums)
    rates_hash = job.settings.rate_card.digest((m.name for m in plan.meters), plan.window.first, plan.window.last)
    run_id = runlog.begin(link.connection, job.settings, "run", plan.window, rates_hash)
    try:
        return _worked(job, link, plan, run_id, sums)
    except BaseException as error:
        # Where even this fails the row says running, and the next run marks it crashed.
        with suppress(psycopg.Error, UsageJobsError):
            word = str(error) if isinstance(error, UsageJobsError) else f"{type(error).__name__}: {error}".rstrip(": ")
            figures = {"rows_changed": sums.changed.total(), "error": job.address.scrubbed(word)}
            runlog.finish(link.connection, job.settings, run_id, "failed", **figures)
        raise


def _worked(job: Job, link: Link, plan: Plan, run_id: int | None, sums: Sums) -> Report:
    settings = job.settings
    with Spill(settings.max_rows_per_chunk) as spill:
        with job.stage("read"):
            reading = read_usage(link.connection, job.address, plan, spill, job.progress)
            _read_standing(link, plan, spill)
        if not job.allow_shrink:
            brake.hold(plan, reading)
        if run_id is not None:
            _keep_modes(link, plan, run_id)
        with job.stage("compute and write"):
            Chunks(link, plan, run_id, spill, sums).run(job.progress)
        with job.stage("finish"):
            retried(lambda: ending.finish(link.connection, plan, run_id, reading, sums))
    return _report(job, plan, run_id, reading, sums)


def _read_standing(link: Link, plan: Plan, spill: Spill) -> None:
    """Our own roll-up of the months: compared with, and the only trace of users whose usage is all gone."""
    of = tables.table(plan.settings, "user_monthly")
    with transaction(link.connection) as connection:
        for frame in tables.standing(connection, plan.settings, of, plan.window.months):
            spill.put("standing", frame)


def _keep_modes(link: Link, plan: Plan, run_id: int) -> None:
    with transaction(link.connection) as connection:
        pass_fence(connection, plan.settings, run_id)
        runlog.keep_modes(connection, plan.settings, plan.modes)


def _report(job: Job, plan: Plan, run_id: int | None, reading: Reading, sums: Sums) -> Report:
    return Report(
        run_id=run_id,
        kind="run",
        window_from=plan.window.first,
        window_to=plan.window.last,
        closed=tuple(sorted(plan.window.closing)),
        rows_read=reading.read,
        rows_rejected=len(reading.rejects),
        unpriced=sums.unpriced,
        changed=sums.all_changed,
        total_cost=sums.total,
        currency=plan.settings.currency,
        seconds=job.seconds,
        notes=plan.notes,
        dry_run=run_id is None,
    )
