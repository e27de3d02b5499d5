"""A run in a process of its own, which prints its report as JSON.

connectorx keeps the interpreter to itself while it reads: clients and proxies that are threads of the test's own
process would rest meanwhile, or never answer it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from server_day import server_day

from jobs.pipeline.run import run_job
from jobs.pipeline.run_request import RunRequest
from jobs.postgres.conninfo import Address
from jobs.settings import load

OF_THE_MACHINE = ("DATABASE_URL", "SUPABASE_", "USAGE_JOBS_", "PG")


@dataclass(frozen=True)
class Ended:
    """How a run ended; ``exit_code`` is its report's."""

    exit_code: int
    notes: list[str]
    rows_read: int
    rows_changed: int
    users_recomputed: int
    changed: dict[str, int]


def environment() -> dict[str, str]:
    """This process's, without what says something to the job."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OF_THE_MACHINE)}


def run_in_process(address: str, day: date, values: Mapping[str, str], *, full: bool = False) -> Ended:
    """The run on the morning after ``day``, under the variables ``values``; ``address``: what the job is to be given.

    AssertionError with the traceback of a run that raised something.
    """
    from commands import said  # the process below cannot: it finds no tests

    explicit = {**values, **said(load(None, values, Path(__file__).parent), address, day)}
    asked = {"address": address, "day": day.isoformat(), "values": explicit, "full": full}
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(asked),  # no password on a command line
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Ended(**json.loads(done.stdout.splitlines()[-1]))


def _perform(address: str, day: str, values: Mapping[str, str], *, full: bool) -> Ended:
    last = date.fromisoformat(day)
    settings = load(None, values, Path(__file__).parent)
    with server_day(last + timedelta(days=1)):
        report = run_job(RunRequest(settings, Address(address), day=last, full=full))
    return Ended(
        report.exit_code,
        list(report.notes),
        report.rows_read,
        report.rows_changed,
        report.users_recomputed,
        dict(report.changed),
    )


def main() -> None:
    asked: dict[str, Any] = json.load(sys.stdin)
    sys.stdout.write(json.dumps(vars(_perform(**asked))) + "\n")


if __name__ == "__main__":
    main()
