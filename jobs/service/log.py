"""Logs: one event a stage, on standard error; key=value where a person looks, one JSON object a line elsewhere."""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from jobs.domain.run_report import Report

EVERY_SECONDS = 30


def configure() -> None:
    """To be called once, by whoever owns the process."""
    bind_run(None)
    # What the driver says of a rollback on a connection that is gone: the error that comes up says it better.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
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


def bind_run(run_id: int | None) -> None:
    """The run that all further lines are about; None: of none."""
    structlog.contextvars.clear_contextvars()
    if run_id is not None:
        structlog.contextvars.bind_contextvars(run_id=run_id)


@dataclass(slots=True)
class Stages:
    """A progress that logs each stage as it begins, with the seconds since the first; and of a long one each
    EVERY_SECONDS how far it is, and where the end is known how many seconds it has left at this pace."""

    clock: Callable[[], float] = time.monotonic
    _began: float | None = None
    _stage: str = ""
    _stage_began: float = 0
    _told: float = 0

    def __call__(self, stage: str, done: int, of: int | None) -> None:
        now = self.clock()
        self._began = now if self._began is None else self._began
        figures: dict[str, Any] = {"seconds": round(now - self._began, 1)}
        if stage != self._stage:
            self._stage, self._stage_began = stage, now
        elif now - self._told < EVERY_SECONDS or not done:
            return
        else:
            figures["done"] = done
            if of is not None:
                figures |= {"of": of, "seconds_left": round((now - self._stage_began) / done * (of - done))}
        event(stage, **figures)
        self._told = now


def report_figures(report: Report) -> dict[str, Any]:
    """The figures of a report that a log keeps."""
    return {
        "window": f"{report.window_from}/{report.window_to}",
        "rows_read": report.rows_read,
        "rows_rejected": report.rows_rejected,
        "users_recomputed": report.users_recomputed,
        "rows_changed": report.rows_changed,
        "total_cost": format(report.total_cost, "f"),
        "seconds": round(sum(report.seconds.values()), 3),
    }
