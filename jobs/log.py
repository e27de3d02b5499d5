"""Logs: one event a stage, on standard error; key=value where a person looks, one JSON object a line elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Any

import structlog

from jobs.model.report import Report


def configure() -> None:
    """To be called once, by whoever owns the process."""
    of_run(None)
    last: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    if sys.stderr.isatty():
        last = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event", "run_id"])
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            last,
        ],
        # Looked up anew for each line: tests, and whoever redirects it, replace standard error.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def event(name: str, *, level: str = "info", **values: Any) -> None:
    """One line."""
    getattr(structlog.get_logger(), level)(name, **values)


def of_run(run_id: int | None) -> None:
    """The run that all further lines are about; None: of none."""
    structlog.contextvars.clear_contextvars()
    if run_id is not None:
        structlog.contextvars.bind_contextvars(run_id=run_id)


def stages() -> Callable[[str, int, int | None], None]:
    """A progress that logs each stage as it begins, with the seconds since the first."""
    began, last = time.monotonic(), ""

    def tell(stage: str, _done: int, _of: int | None) -> None:
        nonlocal last
        if stage != last:
            event(stage, seconds=round(time.monotonic() - began, 1))
            last = stage

    return tell


def told(report: Report) -> dict[str, Any]:
    """The figures of a report that a log keeps."""
    return {
        "window": f"{report.window_from}/{report.window_to}",
        "rows_read": report.rows_read,
        "rows_rejected": report.rows_rejected,
        "rows_changed": report.rows_changed,
        "total_cost": format(report.total_cost, "f"),
        "seconds": round(sum(report.seconds.values()), 3),
    }
