"""What a command says to whom, where it is stopped, and what it may write: terminals, Ctrl-C, files."""

import os
import shutil
import signal
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import psycopg
import pytest
from commands import EVERY_COMMAND, add_usage, ask, mapped, usage_jobs, usage_jobs_process
from told import refused

START = "import sys; from jobs.cli.main import main; sys.exit(main())"
USER = "auth0|zoë…😀"


@pytest.fixture
def spoken(ready: str) -> str:
    """A database where a user has a name of many letters."""
    add_usage(ready, user_id=USER)
    add_usage(ready, user_id=USER, cpu_hours="NaN")
    assert usage_jobs("run", url=ready).code == 3
    return ready


EXPLAIN = ("explain", "--user", USER, "--month", "2026-06")


class Terminal(TextIOWrapper):
    """Standard output of an encoding, in memory."""

    def __init__(self, encoding: str) -> None:
        super().__init__(BytesIO(), encoding)

    def getvalue(self) -> str:
        self.flush()
        written = self.buffer
        assert isinstance(written, BytesIO)
        return written.getvalue().decode(self.encoding)


@pytest.mark.thorough
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp437"])
def test_any_encoding_of_a_terminal_will_do(spoken: str, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    """What it does not have is written as JSON writes it, so that JSON stays the same."""
    monkeypatch.setattr("commands.StringIO", lambda: Terminal(encoding))
    # An export is a file, also on standard output: UTF-8, whatever the terminal's encoding is.
    for words in (EXPLAIN, *(words for words in EVERY_COMMAND if words[0] != "export"), ("--help",)):
        ran = usage_jobs(*words, url=spoken)
        assert "Error" not in ran.err, words
        assert ran.out or ran.code, words
    assert usage_jobs(*EXPLAIN, "--json", url=spoken).object["user"] == USER


def test_a_process_in_a_terminal_of_ascii(spoken: str) -> None:
    ran = usage_jobs_process(*EXPLAIN, DATABASE_URL=spoken, PYTHONIOENCODING="ascii")
    assert ran.out.startswith("auth0|zo\\u00eb\\u2026\\ud83d\\ude00, 2026-06"), ran.err


def test_words_that_are_no_text_are_refused(ready: str) -> None:
    undecodable = os.fsdecode(b"auth0|\xff")
    for words in (
        ("explain", "--user", undecodable, "--month", "2026-06"),
        ("backfill", "--from", "2026-06-01", "--to", "2026-06-02", "--reason", undecodable),
    ):
        refused(usage_jobs(*words, url=ready), "is not UTF-8 text", code=2)


def test_ctrl_c_in_a_run(ready: str) -> None:
    add_usage(ready)
    environment = os.environ | mapped(["run"], {"DATABASE_URL": ready}, os.environ)
    with psycopg.connect(ready) as blocker:
        blocker.execute("LOCK TABLE rollup.user_monthly IN SHARE MODE")  # its first batch waits here
        process = subprocess.Popen(
            [sys.executable, "-c", START, "run", "--date", "2026-06-20"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        said = next(line for line in process.stderr if "compute and write" in line)
        process.send_signal(signal.SIGINT)
        said += process.communicate()[1]
    assert process.returncode == 130, said
    assert "usage-jobs: stopped by Ctrl-C; nothing half-written is left behind: run again" in said
    [run] = ask(ready, "SELECT status, error FROM rollup.runs")
    assert run == {"status": "failed", "error": "stopped by Ctrl-C"}


@pytest.mark.parametrize("command", [("run",), ("backfill", "--from", "2026-06-01", "--to", "2026-06-02")])
def test_a_dry_run_writes_no_metrics(command: tuple[str, ...]) -> None:
    ran = usage_jobs(*command, "--dry-run", "--metrics-file", "metrics")
    assert (ran.code, "--metrics-file: expected a run that writes" in ran.err) == (2, True)


@pytest.mark.parametrize("option", ["--metrics-file", "--ran-out"])
@pytest.mark.parametrize("file", ["nowhere/file", ".", "/dev/null", "/proc/file", "n" * 300])
def test_a_file_that_cannot_be_written_is_refused_before_any_work(ready: str, option: str, file: str) -> None:
    add_usage(ready)
    refused(usage_jobs("run", option, file, url=ready), option, "expected a file", "another path", code=2)
    assert ask(ready, "SELECT run_id FROM rollup.runs") == []
    assert not list(Path().glob("tmp*")), "what was tried is gone"


def test_a_file_that_can_no_longer_be_written_changes_nothing_of_the_run(
    ready: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder goes while the run is at work."""
    add_usage(ready)
    Path("folder").mkdir()
    monkeypatch.setattr(
        "jobs.pipeline.output_files.check_writable", lambda *_: shutil.rmtree("folder", ignore_errors=True)
    )
    files = ("--metrics-file", "folder/metrics", "--ran-out", "folder/out")
    ran = usage_jobs("run", *files, url=ready)
    assert ran.code == 0, ran.err
    assert "WARNING: --metrics-file folder/metrics could not be written: No such file" in ran.err
    assert "--ran-out folder/out could not be written: No such file" in " ".join(ran.out.split())
