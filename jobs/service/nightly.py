"""What `usage-jobs schedule` does when something is due: the nightly run and then watch, and reconcile once a week.

A nightly run is followed by reconcile as well, until a reconcile of this process has found that all invariants hold.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date

from jobs.audit.closed_months import watch_closed_months
from jobs.audit.lists import last_covered_day
from jobs.audit.reconcile import reconcile
from jobs.domain.errors import UsageJobsError
from jobs.pipeline.run import RunRequest, run_job
from jobs.postgres.conninfo import Address
from jobs.service import log
from jobs.service.health_endpoint import Health
from jobs.service.metrics import BROKEN, Metrics
from jobs.service.scheduler import Clock, Due, Entry
from jobs.settings import Settings

CHANGED = 6


@dataclass(slots=True)
class Daemon:
    """The entries of the schedule, for one database. ``scrubbed`` takes passwords out of a traceback; ``working``:
    whether something is being done, so that a signal stops more than a sleep; ``broken``: the checks that the last
    reconcile found broken (None: there was none yet); ``changed``: the closed months that the last watch found
    changed."""

    settings: Settings
    address: Address
    clock: Clock
    scrubbed: Callable[[str], str] = str
    who: str | None = None
    metrics: Metrics = field(default_factory=Metrics)
    health: Health = field(default_factory=Health)
    working: bool = False
    broken: tuple[str, ...] | None = None
    changed: tuple[str, ...] = ()

    def entries(self) -> list[Entry]:
        """Those that have a cron expression."""
        found = [
            Entry("nightly", self.settings.schedule.nightly, self._told("run", self._night), self._covered),
            Entry("reconcile", self.settings.schedule.reconcile, self._told("reconcile", self._reconcile)),
        ]
        return [entry for entry in found if entry.cron]

    def tell(self, dues: Sequence[Due]) -> None:
        """What /healthz says from now on."""
        now = self.clock.now()
        entries = {
            due.entry.name: {
                "last_exit_code": due.code,
                "last_success": None if due.succeeded is None else due.succeeded.isoformat(),
                "next_run": due.next_time(now).isoformat(),
                "failed_tries": due.failed,
            }
            for due in dues
        }
        failing = any(due.failed for due in dues)
        status = "failing" if failing else "broken" if self.broken else "changed" if self.changed else "ok"
        found = {"broken_invariants": list(self.broken or ()), "changed_months": list(self.changed)}
        self.health.told = {"status": status, **found, "entries": entries}

    def _covered(self) -> date | None:
        try:
            return last_covered_day(self.settings, self.address)
        except UsageJobsError as error:
            log.event("the run log cannot be read", level="warning", error=str(error))
            return None

    def _told(self, kind: str, work: Callable[[], int]) -> Callable[[], int]:
        """``work``, whose errors become exit codes: a daemon outlives what it does."""

        def done() -> int:
            log.bind_run(None)
            log.event("begins", kind=kind)
            self.working = True
            try:
                code = work()
            except UsageJobsError as error:
                code = error.exit_code
                log.event("failed", level="error", kind=kind, exit_code=code, error=str(error))
                self.metrics.ended(kind, code, self.clock.now())
            except Exception as error:
                code, text = 1, "".join(traceback.format_exception(error))
                log.event("failed", level="error", kind=kind, exit_code=code, error=self.scrubbed(text))
                self.metrics.ended(kind, code, self.clock.now())
            self.working = False
            return code

        return done

    def _night(self) -> int:
        job = RunRequest(self.settings, self.address, who=self.who, progress=log.Stages())
        report = run_job(job)
        self.metrics.figures(report)
        log.event("done", kind="run", exit_code=report.exit_code, **log.report_figures(report))
        for note in report.notes:
            log.event("note", level="warning", kind="run", note=note)
        # Sunday is too late to hear that what was broken still is, or that it is mended.
        if self.settings.schedule.reconcile and self.broken != ():
            self._reconcile()
        self._watch()
        if self.broken:
            self.metrics.ended("run", CHANGED, self.clock.now(), BROKEN)
        else:
            self.metrics.ended("run", report.exit_code, self.clock.now())
        return CHANGED if self.broken or self.changed else report.exit_code

    def _watch(self) -> None:
        found = watch_closed_months(self.settings, self.address, every=False)
        changed = [month for month in found if month.changed]
        for month in changed:
            log.event("a closed month has changed", level="warning", month=str(month.month), remedy=month.remedy)
        self.changed = tuple(f"{month.month:%Y-%m}" for month in changed)
        self.metrics.ended("watch", CHANGED if changed else 0, self.clock.now())

    def _reconcile(self) -> int:
        laws = reconcile(self.settings, self.address, None, None)
        broken = [law for law in laws if law.broken]
        self.broken = tuple(law.law for law in broken)
        for law in broken:
            figures = {"left": str(law.left), "right": str(law.right), "broken": law.broken}
            log.event("an invariant is broken", level="error", law=law.law, invariant=law.invariant, **figures)
        code = CHANGED if broken else 0
        log.event("done", kind="reconcile", exit_code=code, laws=len(laws), broken=len(broken))
        self.metrics.ended("reconcile", code, self.clock.now(), BROKEN if broken else None)
        return code
