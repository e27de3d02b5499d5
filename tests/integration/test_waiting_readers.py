"""While a reader waits for rows the process stays alive: the guard pings, and a signal ends it."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import usage_reads
from commands import add_row, ask

PATIENCE = 10  # seconds, for what is done at once
SUPPORT = str(Path(usage_reads.__file__).parent)
READERS = ("connectorx", "copy")
Start = Callable[[str], "subprocess.Popen[bytes]"]
READ = """
import os, signal, sys, threading
from datetime import date
from usage_reads import read_usage

def answer():
    for line in sys.stdin:
        print("alive", flush=True)

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
threading.Thread(target=answer, daemon=True).start()
read_usage(os.environ["DATABASE_URL"], sys.argv[1], [(date(2026, 6, 1), date(2026, 6, 30))])
"""


@pytest.fixture
def start(database: str) -> Iterator[Start]:
    """start(reader): a process whose reader waits for a row that somebody else holds back."""
    add_row(database)
    ask(
        database,
        "ALTER TABLE usage_daily RENAME TO usage_rows;"
        "CREATE FUNCTION stall() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock(7);"
        " RETURN true; END $$; CREATE VIEW usage_daily AS SELECT * FROM usage_rows WHERE stall()",
    )
    started: list[subprocess.Popen[bytes]] = []

    def begin(reader: str) -> "subprocess.Popen[bytes]":
        environment = os.environ | {"DATABASE_URL": database, "PYTHONPATH": SUPPORT}
        words = [sys.executable, "-c", READ, reader]
        process = subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        while process.poll() is None and not waits(database):
            pass
        return process

    with psycopg.connect(database) as holder:
        holder.execute("SELECT pg_advisory_lock(7)")
        yield begin
        for process in started:
            process.kill()
            process.communicate()


def waits(database: str) -> bool:
    text = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
    return bool(ask(database, text))


def answers(process: "subprocess.Popen[bytes]") -> bool:
    """Whether its other thread has had its turn so often that the reader must have been waiting at the time."""
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(2_000):
        process.stdin.write(b"?\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], PATIENCE)[0]:
            return False
        assert process.stdout.readline() == b"alive\n"
    return True


@pytest.mark.thorough
@pytest.mark.parametrize("reader", READERS)
def test_other_threads_work(start: Start, reader: str) -> None:
    """Without pings the server ends the guard after a minute, and another run may begin beside this one."""
    assert answers(start(reader)), "no other thread has its turn"


def test_a_signal_ends_it(start: Start) -> None:
    """As Kubernetes does, which kills half a minute later. Not with connectorx: Python hears of a signal in its main
    thread only, and not before the read is over. Run log and ownership check hold."""
    process = start("copy")
    answers(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 143
