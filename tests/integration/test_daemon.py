"""`usage-jobs schedule` as a process: what it answers over HTTP, how signals stop it, what it logs; --metrics-file."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from commands import add_usage, applied, ask, explicit, mapped, usage_jobs
from fake_clock import FakeClock
from ways import job_url

from jobs.postgres import server_clock as server
from jobs.postgres.conninfo import Address
from jobs.service.health_endpoint import Health, serve_health
from jobs.service.nightly import Daemon
from jobs.service.scheduler import Entry, Schedule
from jobs.settings import load

SAID = ("last_exit_code", "last_success")
START = "import sys; from jobs.cli.main import main; sys.exit(main())"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def scheduled(url: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The daemon and where it answers."""
    listen = f"127.0.0.1:{free_port()}"
    given = {"DATABASE_URL": url, "USAGE_JOBS_SCHEDULE__LISTEN": listen, **environment}
    process = subprocess.Popen(
        [sys.executable, "-c", START, "schedule"],
        env=os.environ | mapped(["schedule"], given, os.environ, datetime.now(UTC).date()),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, f"http://{listen}"
    finally:
        process.kill()
        process.communicate()


def lines(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """Its log, as it comes."""
    assert process.stderr is not None
    for line in process.stderr:
        yield json.loads(line)


def until(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    for line in lines(process):
        if line["event"] == event:
            return line
    raise AssertionError(f"it ended without {event}")


def get(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address) as answer:  # noqa: S310 - our own
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def healthy(address: str) -> dict[str, Any]:
    """What /healthz says, once the night is behind it."""
    while True:
        code, text = get(f"{address}/healthz")
        told: dict[str, Any] = json.loads(text)
        if told["entries"]["nightly"]["last_exit_code"] is not None:
            return told | {"code": code}


def test_what_is_missing_is_done_at_once_and_logged(database: str) -> None:
    add_usage(applied(database))
    with scheduled(database, USAGE_JOBS_START="2026-06") as (process, address):
        done = until(process, "done")
        assert (done["kind"], done["exit_code"], done["run_id"], done["rows_rejected"]) == ("run", 0, 1, 0)
        told = healthy(address)
        assert (told["code"], told["status"]) == (200, "ok")
        assert set(told["entries"]) == {"nightly", "reconcile"}
        assert told["entries"]["nightly"]["last_success"] < told["entries"]["nightly"]["next_run"]
        code, text = get(f"{address}/metrics")
        assert code == 200
        assert 'usage_jobs_runs_total{kind="run",status="done"} 1.0' in text
        assert 'usage_jobs_stage_seconds{kind="run",stage="detect"}' in text
        assert get(f"{address}/")[0] == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0, "nothing was being done: that is no failure"
    assert [run["status"] for run in ask(database, "SELECT status FROM rollup.runs")] == ["done"]


@pytest.mark.thorough
def test_a_broken_invariant_is_no_success_until_it_is_mended(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """/healthz, last_success and the metrics tell it, after reconcile and after each night."""
    add_usage(applied(database))
    settings = explicit(load(None, {"USAGE_JOBS_START": "2026-06"}, Path.cwd()), database, date(2026, 6, 20))
    monkeypatch.setattr(server, "today", lambda _: date(2026, 6, 21))
    clock = FakeClock(datetime(2026, 6, 21, 3, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    served = Daemon(settings, Address(job_url(database, lambda: settings)), clock.now)
    nightly, reconcile = entries = Schedule(served.entries(), clock.now).entries

    def told(entry: Entry) -> tuple[int, str, list[str], int | None, str | None, float | None]:
        """The health after another hour and a run of ``entry``."""
        clock.time += timedelta(hours=1)
        entry.run(clock.now)
        served.update_health(entries)
        said = served.health.answer["entries"][entry.name]
        kind = "run" if entry is nightly else "reconcile"
        success = re.search(rf'last_success_timestamp_seconds{{kind="{kind}"}} (.*)', served.metrics.text().decode())
        at, health = None if success is None else float(success[1]), served.health.answer
        return served.health.code, health["status"], health["broken_invariants"], *map(said.get, SAID), at

    def at(hour: int) -> tuple[str, float]:
        moment = datetime(2026, 6, 21, hour, tzinfo=UTC)
        return moment.isoformat(), moment.timestamp()

    broken = ["2 user-months, computed again = roll-up"]
    assert told(nightly) == (200, "ok", [], 0, *at(4)), "the first night of a process is proved"
    ask(database, "UPDATE rollup.user_monthly SET days = 9")
    assert told(nightly) == (200, "ok", [], 0, *at(5)), "nobody has looked yet"
    assert told(reconcile) == (503, "broken", broken, 6, None, at(4)[1])
    assert told(nightly) == (503, "broken", broken, 6, *at(5))
    ask(database, "UPDATE rollup.user_monthly SET days = 1")
    assert told(nightly) == (200, "ok", [], 0, *at(8))
    assert told(reconcile) == (200, "ok", [], 0, *at(9))
    text = served.metrics.text().decode()
    assert 'usage_jobs_runs_total{kind="run",status="broken"} 1.0' in text
    assert 'usage_jobs_runs_total{kind="reconcile",status="broken"} 2.0' in text


@pytest.mark.thorough
def test_a_database_that_is_away_is_no_end() -> None:
    """It says so, and goes on."""
    with scheduled("postgresql://postgres@127.0.0.1:1/postgres") as (process, address):
        assert until(process, "failed")["exit_code"] == 5
        told = healthy(address)
        assert (told["code"], told["status"], told["entries"]["nightly"]["failed_tries"]) == (503, "failing", 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_sigterm_in_the_middle_of_a_run(database: str) -> None:
    """It rolls back what it is at, says failed in the log, and ends as a stopped command does."""
    applied(database)
    ask(
        database,
        "INSERT INTO usage_daily (user_id, date, cpu_hours)"
        " SELECT 'user ' || n, current_date - 1, 1 FROM generate_series(1, 3000) AS n",
    )
    with (
        psycopg.connect(database) as blocker,
        scheduled(database, USAGE_JOBS_BATCH_ROWS="500") as (process, _),
    ):
        blocker.execute("LOCK TABLE rollup.user_monthly IN SHARE MODE")  # its first batch waits here
        until(process, "compute and write")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 143
    [run] = ask(database, "SELECT status, error FROM rollup.runs")
    assert run == {"status": "failed", "error": "stopped by SIGTERM"}
    assert ask(database, "SELECT month FROM rollup.user_monthly") == []


@pytest.mark.parametrize("listen", ["127.0.0.1:{}", "localhost:{}", ":{}", "{}", "[::1]:{}"])
def test_where_it_listens(listen: str) -> None:
    """Without a host on this machine only."""
    port, host = free_port(), "[::1]" if "::" in listen else "127.0.0.1"
    if "::" in listen and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with serve_health(listen.format(port), Health(), lambda: b""):
        assert get(f"http://{host}:{port}/healthz")[0] == 200
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.77.0.1", port)).close()


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_a_port_that_is_taken_and_one_that_is_none(database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for listen in (f"127.0.0.1:{taken.getsockname()[1]}", "nowhere", "127.0.0.1:99999999", "::1:8080"):
            ran = usage_jobs("schedule", url=database, USAGE_JOBS_SCHEDULE__LISTEN=listen)
            assert ran.code == 2
            assert f"schedule.listen = {listen!r}: expected a HOST:PORT that is free" in ran.err


def test_a_cron_expression_that_is_none(database: str) -> None:
    ran = usage_jobs("schedule", url=database, USAGE_JOBS_SCHEDULE__NIGHTLY="2:30")
    assert (ran.code, "schedule: '2:30': expected a cron expression such as '30 2 * * *'" in ran.err) == (2, True)


@pytest.mark.parametrize("command", [("run",), ("backfill", "--from", "2026-06-01", "--to", "2026-06-02")])
def test_metrics_of_a_single_command(database: str, tmp_path: Path, command: tuple[str, ...]) -> None:
    add_usage(applied(database))
    add_usage(database, cpu_hours="NaN")
    file = tmp_path / "usage_jobs.prom"
    assert usage_jobs(*command, "--metrics-file", str(file), url=database).code == 3
    text = file.read_text()
    assert f'usage_jobs_runs_total{{kind="{command[0]}",status="done with rejects"}} 1.0' in text
    assert f'usage_jobs_rows_rejected{{kind="{command[0]}"}} 1.0' in text


def test_log_lines_are_objects_with_the_run(database: str) -> None:
    add_usage(applied(database))
    ran = usage_jobs("run", url=database)
    found = [json.loads(line) for line in ran.err.splitlines()]
    assert [line["event"] for line in found] == ["check", "plan", "detect", "compute and write", "finish"]
    assert [line.get("run_id") for line in found] == [None, None, 1, 1, 1]
