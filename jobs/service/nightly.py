"""The jobs of `usage-jobs schedule`: the nightly run, followed by watch and by the files of the
months (``report_files``); and reconcile, once a week.

A nightly run is also followed by reconcile, until a reconcile of this process has found no broken invariant.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from jobs.audit.closed_months import watch_closed_months
from jobs.audit.reconcile import reconcile
from jobs.domain.billing_periods import months_of
from jobs.domain.errors import UsageJobsError
from jobs.domain.run_report import Report
from jobs.pipeline.run import run_job
from jobs.pipeline.run_request import RunRequest
from jobs.postgres import run_log, server_clock
from jobs.postgres.connections import Connection, query_database
from jobs.postgres.conninfo import Address
from jobs.service import log
from jobs.service.health_endpoint import Health
from jobs.service.metrics import BROKEN, Metrics
from jobs.service.report_files import hide_login, write_report_files
from jobs.service.scheduler import Entry
from jobs.settings import Settings

NEEDS_A_PERSON = 6
COUNTS = ("rows_read", "rows_rejected", "users_recomputed", "rows_changed")


@dataclass(slots=True)
class Daemon:
    """The jobs of one database, and their results since the process started.

    - ``scrub``: removes passwords from a traceback
    - ``who``: who runs the jobs, for the run log
    - ``is_working``: whether a job is running, so that a signal interrupts more than a sleep
    - ``broken``: the checks that the last reconcile found broken; None: there was no reconcile yet
    - ``changed``: the closed months that the last watch found changed
    """

    settings: Settings
    address: Address
    clock: Callable[[], datetime]
    scrub: Callable[[str], str] = str
    who: str | None = None
    metrics: Metrics = field(default_factory=Metrics)
    health: Health = field(default_factory=Health)
    is_working: bool = False
    broken: tuple[str, ...] | None = None
    changed: tuple[str, ...] = ()

    def entries(self) -> list[Entry]:
        """The entries of the schedule that have a cron expression."""
        schedule = self.settings.schedule
        found = [
            Entry("nightly", schedule.nightly, self._with_exit_code("run", self._run_nightly), self._last_covered_day),
            Entry("reconcile", schedule.reconcile, self._with_exit_code("reconcile", self._reconcile)),
        ]
        return [entry for entry in found if entry.cron]

    def update_health(self, entries: Sequence[Entry]) -> None:
        """Sets the answer of /healthz."""
        figures = {
            entry.name: {
                "last_exit_code": entry.code,
                "last_success": None if entry.succeeded is None else entry.succeeded.isoformat(),
                "next_run": entry.job.next_run_time.isoformat(),
                "failed_tries": entry.failed,
            }
            for entry in entries
        }
        failing = any(entry.failed for entry in entries)
        status = "failing" if failing else "broken" if self.broken else "changed" if self.changed else "ok"
        found = {"broken_invariants": list(self.broken or ()), "changed_months": list(self.changed)}
        self.health.answer = {"status": status, **found, "entries": figures}

    def _last_covered_day(self) -> date | None:
        try:
            return query_database(self.address, self._read_covered_to)
        except UsageJobsError as error:
            log.event("the run log cannot be read", level="warning", error=str(error))
            return None

    def _read_covered_to(self, connection: Connection) -> date | None:
        return run_log.read_covered_to(connection, self.settings, server_clock.today(connection))

    def _with_exit_code(self, kind: str, work: Callable[[], int]) -> Callable[[], int]:
        """``work`` with logging, and with every error turned into an exit code: the daemon must not end."""

        def wrapped() -> int:
            log.bind_run(None)
            log.event("begins", kind=kind)
            self.is_working = True
            try:
                code = work()
            except Exception as error:
                code = self._record_failure(kind, error)
            self.is_working = False
            return code

        return wrapped

    def _record_failure(self, kind: str, error: Exception) -> int:
        """Logs the error, counts it, and returns its exit code."""
        if isinstance(error, UsageJobsError):
            code, text = error.exit_code, str(error)
        else:
            code, text = 1, self.scrub("".join(traceback.format_exception(error)))
        log.event("failed", level="error", kind=kind, exit_code=code, error=text)
        self.metrics.record_end(kind, code, self.clock())
        return code

    def _run_nightly(self) -> int:
        job = RunRequest(self.settings, self.address, who=self.who, progress=log.Stages())
        report = run_job(job)
        self.metrics.record_figures(report)
        counts = {name: getattr(report, name) for name in COUNTS}
        figures = counts | {"total_cost": f"{report.total_cost:f}", "seconds": round(sum(report.seconds.values()), 3)}
        window = f"{report.window_from}/{report.window_to}"
        log.event("done", kind="run", exit_code=report.exit_code, window=window, **figures)
        for note in report.notes:
            log.event("note", level="warning", kind="run", note=note)
        # Do not wait for the weekly reconcile to find out whether broken invariants have been repaired.
        if self.settings.schedule.reconcile and self.broken != ():
            self._reconcile()
        self._watch()
        if self.settings.schedule.reports:
            self._write_reports(report)
        code, status = (NEEDS_A_PERSON, BROKEN) if self.broken else (report.exit_code, None)
        self.metrics.record_end("run", code, self.clock(), status)
        return NEEDS_A_PERSON if self.broken or self.changed else report.exit_code

    def _write_reports(self, report: Report) -> None:
        """Writes the files of the months of the run. The run is done: an error here does not make it run again."""
        place = self.settings.schedule.reports
        months = months_of(report.window_from, report.window_to)
        try:
            files = write_report_files(self.settings, self.address, months, self.clock())
        except Exception as error:
            self._record_failure("report", error)
        else:
            log.event("done", kind="report", exit_code=0, files=files, place=hide_login(place))
            self.metrics.record_end("report", 0, self.clock())

    def _watch(self) -> None:
        found = watch_closed_months(self.settings, self.address, every=False)
        changed = [month for month in found if month.changed]
        for month in changed:
            log.event("a closed month has changed", level="warning", month=str(month.month), remedy=month.remedy)
        self.changed = tuple(f"{month.month:%Y-%m}" for month in changed)
        self.metrics.record_end("watch", NEEDS_A_PERSON if changed else 0, self.clock())

    def _reconcile(self) -> int:
        checks = reconcile(self.settings, self.address, None, None)
        broken = [check for check in checks if check.broken]
        self.broken = tuple(check.title for check in broken)
        for check in broken:
            figures = {"left": str(check.left), "right": str(check.right), "broken": check.broken}
            log.event("an invariant is broken", level="error", check=check.title, invariant=check.invariant, **figures)
        code = NEEDS_A_PERSON if broken else 0
        log.event("done", kind="reconcile", exit_code=code, checks=len(checks), broken=len(broken))
        self.metrics.record_end("reconcile", code, self.clock(), BROKEN if broken else None)
        return code
