"""What `usage-jobs schedule` does when something is due: the nightly run and then watch, and reconcile once a week."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date

from jobs import log
from jobs.health import Health
from jobs.look import covered_until
from jobs.metrics import Metrics
from jobs.model.errors import UsageJobsError
from jobs.pipeline.run import Job, perform
from jobs.reconcile import reconciled
from jobs.schedule import Clock, Due, Entry
from jobs.settings import Settings
from jobs.store.address import Address
from jobs.watch import watched

CHANGED = 6


@dataclass(slots=True)
class Daemon:
    """The entries of the schedule, for one database. ``scrubbed`` takes passwords out of a traceback; ``working``:
    whether something is being done, so that a signal stops more than a sleep."""

    settings: Settings
    address: Address
    clock: Clock
    scrubbed: Callable[[str], str] = str
    who: str | None = None
    metrics: Metrics = field(default_factory=Metrics)
    health: Health = field(default_factory=Health)
    working: bool = False

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
        self.health.told = {"status": "failing" if failing else "ok", "entries": entries}

    def _covered(self) -> date | None:
        try:
            return covered_until(self.settings, self.address)
        except UsageJobsError as error:
            log.event("the run log cannot be read", level="warning", error=str(error))
            return None

    def _told(self, kind: str, work: Callable[[], int]) -> Callable[[], int]:
        """``work``, whose errors become exit codes: a daemon outlives what it does."""

        def done() -> int:
            log.of_run(None)
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
        job = Job(self.settings, self.address, who=self.who, progress=log.Stages())
        report = perform(job)
        self.metrics.done(report, self.clock.now())
        log.event("done", kind="run", exit_code=report.exit_code, **log.told(report))
        for note in report.notes:
            log.event("note", level="warning", kind="run", note=note)
        return CHANGED if self._watch() else report.exit_code

    def _watch(self) -> bool:
        found = watched(self.settings, self.address, every=False)
        changed = [month for month in found if month.changed]
        for month in changed:
            log.event("a closed month has changed", level="warning", month=str(month.month), remedy=month.remedy)
        self.metrics.ended("watch", CHANGED if changed else 0, self.clock.now())
        return bool(changed)

    def _reconcile(self) -> int:
        laws = reconciled(self.settings, self.address, None, None)
        broken = [law for law in laws if law.broken]
        for law in broken:
            log.event("a law is broken", level="error", law=law.law, left=str(law.left), right=str(law.right))
        code = CHANGED if broken else 0
        log.event("done", kind="reconcile", exit_code=code, laws=len(laws), broken=len(broken))
        self.metrics.ended("reconcile", code, self.clock.now())
        return code
