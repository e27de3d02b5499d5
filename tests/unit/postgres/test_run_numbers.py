"""The run log where its numbers are behind: after a crash soon after CREATE DATABASE (which logs a sequence as it
stands, and not ahead of that), or on a server that was replicated without its sequences."""

from commands import add_usage, applied, ask, usage_jobs
from prepaid import prepaid


def numbers(url: str) -> list[tuple[int, str, str]]:
    found = ask(url, "SELECT run_id, kind, status FROM rollup.runs ORDER BY 1")
    return [(row["run_id"], row["kind"], row["status"]) for row in found]


def test_numbers_that_are_taken_are_passed_over(database: str) -> None:
    add_usage(applied(database))
    for _ in range(3):
        assert usage_jobs("run", url=database).code == 0
    ask(database, "ALTER TABLE rollup.runs ALTER run_id RESTART WITH 2")
    assert usage_jobs("run", url=database).code == 0
    assert numbers(database) == [(n, "run", "done") for n in (1, 2, 3, 4)]


def test_so_are_those_of_an_adoption(database: str) -> None:
    prepaid(applied(database), granted="1", purchased="1")
    add_usage(database, credits_deducted="0.10")
    ask(database, "UPDATE user_credits SET free_credits_used = 0.10")
    ask(
        database,
        "INSERT INTO rollup.runs (run_id, kind, window_from, window_to, status, version) OVERRIDING SYSTEM VALUE "
        "SELECT n, 'run', '2026-05-01', '2026-05-02', 'failed', '1' FROM unnest(ARRAY[1, 2, 4]) AS n",
    )
    assert usage_jobs("run", url=database).code == 0
    assert numbers(database)[2:] == [(3, "run", "done"), (4, "run", "failed"), (5, "adopt", "done")]


def test_a_log_that_swallows_rows_is_named(database: str) -> None:
    add_usage(applied(database))
    ask(
        database,
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    )
    ask(database, "CREATE TRIGGER t BEFORE INSERT ON rollup.runs FOR EACH ROW EXECUTE FUNCTION swallow()")
    ran = usage_jobs("run", url=database)
    assert (ran.code, "its INSERT writes nothing" in ran.err) == (5, True)
