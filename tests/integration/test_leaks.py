"""What finds a password finds it: in each way to write it, in every place where a command may leave it."""

import subprocess
import sys
from uuid import uuid4

import psycopg
import pytest
from commands import applied, ask, usage_jobs
from leaks import SECRET, another_process, forms, in_process_list, in_tables, leaked, leaks


@pytest.mark.parametrize("form", sorted(forms(SECRET)))
def test_each_way_to_write_it_is_found(form: str) -> None:
    assert form in leaks(f"cannot reach {form}: refused")
    assert form in leaks(f"cannot reach\n{form[:7]}\n   {form[7:]} refused")
    assert form in leaks(f"cannot reach {form.lower()}: refused")


def test_nothing_is_found_where_nothing_is() -> None:
    assert leaks("cannot reach postgres@db.example.test:5432/app: password authentication failed") == set()


def test_a_command_that_shows_it_is_caught(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "jobs.postgres.connections.query_database", lambda *_: sys.stderr.write("Zebra7") and sys.exit(1)
    )
    assert leaked(usage_jobs("runs", url=applied(database))) == {"Zebra7"}
    shown = "lambda *_: print(os.environ['SECRET'])"
    prelude = f"import os\nfrom jobs.postgres import connections\nconnections.query_database = {shown}"
    assert SECRET in leaked(another_process(("runs",), {"DATABASE_URL": database, "SECRET": SECRET}, prelude))


def test_a_table_that_holds_it_is_caught(database: str) -> None:
    assert in_tables(applied(database)) == set()
    ask(
        database,
        "INSERT INTO rollup.runs (kind, window_from, window_to, status, version, error)"
        " VALUES ('run', '2026-06-01', '2026-06-30', 'failed', '0', 'no Quokka9 there')",
    )
    assert in_tables(database) == {"Quokka9"}
    with psycopg.connect(database, application_name="Walrus3"):
        assert in_tables(database) == {"Quokka9", "Walrus3"}


def test_a_process_that_was_given_it_is_caught() -> None:
    secret = f"{uuid4().hex}@#"  # not SECRET, which another test looks for at the same time
    assert in_process_list(secret) == set()
    command = [sys.executable, "-c", "input(print('here', flush=True) or '')", secret]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"here\n"  # before a program runs, it may have no arguments to be seen
        assert secret in in_process_list(secret)
        process.communicate(b"\n")
