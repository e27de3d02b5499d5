"""What monitoring is told: Prometheus metrics of runs, over HTTP (`schedule`) or as a textfile (`--metrics-file`)."""

from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, write_to_textfile

from jobs.domain.run_report import Report

STATUS = {0: "done", 3: "done with rejects", 4: "locked", 5: "refused", 6: "changed"}
BROKEN = "broken"
"""The status of a command that ended with 6 because an invariant is broken."""


class Metrics:
    """Runs by kind and status since the process began; the figures of the last run that was done."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._runs = Counter(
            "usage_jobs_runs", "Commands that have ended.", ["kind", "status"], registry=self._registry
        )
        self._seconds = Gauge(
            "usage_jobs_stage_seconds", "Of the last run.", ["kind", "stage"], registry=self._registry
        )
        self._read = self._gauge("usage_jobs_rows_read", "Rows of usage_daily that the last run read.")
        self._rejected = self._gauge("usage_jobs_rows_rejected", "Rows that the last run could not price.")
        self._changed = self._gauge("usage_jobs_rows_changed", "Rows that the last run wrote.")
        self._cost = self._gauge("usage_jobs_total_cost", "Cost of the months in the currency of the last one.")
        self._uncovered = self._gauge("usage_jobs_uncovered", "Prepaid usage that no credit covers.")
        self._code = self._gauge("usage_jobs_last_exit_code", "Of the last command.")
        self._success = self._gauge("usage_jobs_last_success_timestamp_seconds", "When a command was done last.")

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, ["kind"], registry=self._registry)

    def done(self, report: Report, now: datetime) -> None:
        """A run or backfill that came to its end."""
        self.figures(report)
        self.ended(report.kind, report.exit_code, now)

    def figures(self, report: Report) -> None:
        """What a run or backfill has found. Gauges are floats by nature: for alarms, not for invoices."""
        kind = report.kind
        for stage, seconds in report.seconds.items():
            self._seconds.labels(kind, stage).set(seconds)
        self._read.labels(kind).set(report.rows_read)
        self._rejected.labels(kind).set(report.rows_rejected)
        self._changed.labels(kind).set(report.rows_changed)
        self._cost.labels(kind).set(float(report.total_cost))
        self._uncovered.labels(kind).set(float(report.credits.uncovered))

    def ended(self, kind: str, code: int, now: datetime, status: str | None = None) -> None:
        """A command that has ended, whichever way; ``status``: where its exit code does not say all."""
        self._runs.labels(kind, status or STATUS.get(code, "failed")).inc()
        self._code.labels(kind).set(code)
        if code in (0, 3):
            self._success.labels(kind).set(now.timestamp())

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    def write(self, file: Path) -> None:
        """The same into a file, all at once, for node_exporter's textfile collector. Raises OSError."""
        write_to_textfile(str(file), self._registry)
