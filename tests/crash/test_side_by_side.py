"""Batches that go side by side leave what they leave one after the other; what stops one of them stops them all."""

import signal
from collections.abc import Callable

import night as world
import psycopg
import pytest
from commands import ask
from killing import began, command, differing, released, states, tables, whole_users
from night import LAST_DAY, Night
from ways import job_url


def run(url: str, workers: int) -> tuple[int, str]:
    settings = world.EACH_USER_ALONE | {"USAGE_JOBS_WORKERS": str(workers)}
    process = command(url, "run", "--date", str(LAST_DAY), **settings)
    said, _ = process.communicate()
    return process.returncode, said


@pytest.mark.thorough
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_same_tables(night: Night, copy: Callable[[], str], workers: int) -> None:
    url = copy()
    code, said = run(url, workers)
    assert code == 3, said
    assert differing(tables(url), night.after) == []
    code, said = run(url, workers)
    assert code == 3, said
    assert differing(tables(url), night.after) == []


@pytest.mark.thorough
def test_one_that_fails(night: Night, copy: Callable[[], str]) -> None:
    url = copy()
    ask(
        url,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        "  IF NEW.user_id = 'eve' THEN RAISE EXCEPTION 'not eve'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON rollup.user_monthly FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    code, said = run(url, 4)
    assert (code, "not eve" in said) == (5, True), said
    assert states(url)[-1] == "failed"
    whole_users(tables(url), night.before, night.after)
    ask(url, "DROP FUNCTION refuse CASCADE")
    assert run(url, 4)[0] == 3
    assert differing(tables(url), night.after) == []


@pytest.mark.thorough
def test_a_signal_while_it_waits(night: Night, copy: Callable[[], str]) -> None:
    """Somebody holds all accounts: nothing is posted, one user after another is waited for, and the process ends as the
    signal says."""
    url = copy()
    address = job_url(url, world.settings)  # a role is given its rights here, which would wait for the lock
    with psycopg.connect(url) as holder:
        holder.execute("SELECT FROM user_credits FOR UPDATE")
        settings = world.EACH_USER_ALONE | {"USAGE_JOBS_WORKERS": "3"}
        process = command(address, "run", "--date", str(LAST_DAY), **settings)
        began(process)
        waiting = (
            "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        while ask(url, waiting)[0]["n"] == 0:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, said
    assert tables(url)["credit_draws"] == night.before["credit_draws"]
    released(url)
    assert run(url, 3)[0] == 3
    assert differing(tables(url), night.after) == []
