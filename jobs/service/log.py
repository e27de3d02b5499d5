"""Logs on standard error: one line a stage; key=value on a terminal, one JSON object a line elsewhere."""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

EVERY_SECONDS = 30


def configure() -> None:
    """Configures logging. Call it once per process."""
    bind_run(None)
    # The driver warns about a rollback on a lost connection; the error that is raised explains it better.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    # APScheduler warns of a skipped time in plain text; the schedule logs it as an event.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
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
        # sys.stderr is looked up for each line, because tests replace it.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def event(name: str, *, level: str = "info", **values: Any) -> None:
    """Logs one line: the event ``name`` with ``values``."""
    getattr(structlog.get_logger(), level)(name, **values)


def bind_run(run_id: int | None) -> None:
    """Adds ``run_id`` to all further log lines; None: no run."""
    structlog.contextvars.clear_contextvars()
    if run_id is not None:
        structlog.contextvars.bind_contextvars(run_id=run_id)


@dataclass(slots=True)
class Stages:
    """A progress callback that logs the stages of a run.

    It logs the start of each stage, with the seconds since the first stage. During a long stage it logs every
    EVERY_SECONDS how much is done and, if the total is known, how many seconds are left at this speed.
    """

    clock: Callable[[], float] = time.monotonic
    _began: float | None = None
    _stage: str = ""
    _stage_began: float = 0
    _logged: float = 0

    def __call__(self, stage: str, done: int, of: int | None) -> None:
        now = self.clock()
        self._began = now if self._began is None else self._began
        figures: dict[str, Any] = {"seconds": round(now - self._began, 1)}
        if stage != self._stage:
            self._stage, self._stage_began = stage, now
        elif now - self._logged < EVERY_SECONDS or not done:
            return
        else:
            figures["done"] = done
            if of is not None:
                figures |= {"of": of, "seconds_left": round((now - self._stage_began) / done * (of - done))}
        event(stage, **figures)
        self._logged = now
