"""Prometheus metrics of runs, served over HTTP (`schedule`) or written as a text file (`--metrics-file`)."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, write_to_textfile

from jobs.domain.run_report import Report

STATUS = {0: "done", 3: "done with rejects", 4: "locked", 5: "refused", 6: "changed"}
BROKEN = "broken"
"""The status of a command that ended with exit code 6 because an invariant is broken."""


FIGURES: dict[str, tuple[str, Callable[[Report], float]]] = {
    "rows_read": ("Rows of usage_daily that the last run read.", lambda report: report.rows_read),
    "rows_rejected": ("Rows that the last run could not price.", lambda report: report.rows_rejected),
    "rows_changed": ("Rows that the last run wrote.", lambda report: report.rows_changed),
    "total_cost": ("Cost of the months in the currency of the last one.", lambda report: float(report.total_cost)),
    "uncovered": ("Prepaid usage that no credit covers.", lambda report: float(report.credits.uncovered)),
}
"""Figures of a run. Gauges are floats: use them for alarms, not for invoices."""


class Metrics:
    """Counts of commands by kind and status since the process started, and the figures of the last finished run."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        kinds = ["kind", "status"]
        self._runs = Counter("usage_jobs_runs", "Commands that have ended.", kinds, registry=self._registry)
        self._seconds = self._gauge("stage_seconds", "Of the last run.", "stage")
        self._figures = {name: self._gauge(name, text) for name, (text, _) in FIGURES.items()}
        self._code = self._gauge("last_exit_code", "Of the last command.")
        self._success = self._gauge("last_success_timestamp_seconds", "When a command was done last.")

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"usage_jobs_{name}", text, ["kind", *labels], registry=self._registry)

    def record_figures(self, report: Report) -> None:
        """Records the figures of a run or backfill."""
        for stage, seconds in report.seconds.items():
            self._seconds.labels(report.kind, stage).set(seconds)
        for name, (_, read) in FIGURES.items():
            self._figures[name].labels(report.kind).set(read(report))

    def record_end(self, kind: str, code: int, now: datetime, status: str | None = None) -> None:
        """Records the end of a command.

        ``kind``: run, backfill, watch, report or reconcile. ``code``: its exit code. ``status``: replaces the status
        that belongs to the exit code.
        """
        self._runs.labels(kind, status or STATUS.get(code, "failed")).inc()
        self._code.labels(kind).set(code)
        if code in (0, 3):
            self._success.labels(kind).set(now.timestamp())

    def text(self) -> bytes:
        """The metrics in the text format of Prometheus."""
        return generate_latest(self._registry)

    def write(self, file: Path) -> None:
        """Writes the metrics atomically to a file, for the textfile collector of node_exporter. Raises OSError."""
        write_to_textfile(str(file), self._registry)
