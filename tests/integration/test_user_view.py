"""`schema --user-view`: a signed-in user reads their own months over the REST API, and nothing else; nobody else reads
anything."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from catalogs import OWN
from commands import RATES, applied, ask, configured, usage_jobs
from drift_verdicts import ended
from drift_world import Copies, copies, do
from exposed import ADA, APART, BOB, READ, WRITES, notes, rolled_up, tried


@pytest.fixture(scope="module")
def made(server_url: str) -> Iterator[Copies]:
    with copies(server_url) as some:
        yield some


@pytest.fixture
def url(made: Copies, tmp_path: Path) -> Iterator[str]:
    configured(tmp_path)
    url = made.of("rolled up", rolled_up)
    yield url
    made.drop(url)


MINE = "SELECT * FROM my_usage_monthly"


@pytest.fixture
def viewed(url: str) -> str:
    done = usage_jobs("schema", "--user-view", "--apply", url=url)
    assert done.code == 0, done.err
    return url


def claims(user: object) -> str:
    return json.dumps({"sub": user, "role": "authenticated", "aud": "authenticated"})


@pytest.mark.parametrize("user", [ADA, BOB])
def test_users_read_their_own_months(viewed: str, user: str) -> None:
    month = tried(viewed, "authenticated", "SELECT user_id, total_cost FROM my_usage_monthly", claims(user))
    assert month == [(user, Decimal("0.1"))]
    assert notes(viewed) == []


NOBODY = [claims(user) for user in ("auth0|nobody", "auth0%", "' OR true --", [ADA], {"sub": ADA}, 1, True)]


@pytest.mark.parametrize("token", [None, "", "{}", '{"sub": null}', '{"user_id": "auth0|66a0"}', "[]", *NOBODY])
def test_who_is_nobody_reads_nothing(viewed: str, token: str | None) -> None:
    assert tried(viewed, "authenticated", MINE, token) == []


@pytest.mark.parametrize("token", ["not json", "{", ADA])
def test_claims_that_are_no_json_show_nothing(viewed: str, token: str) -> None:
    with pytest.raises(psycopg.errors.InvalidTextRepresentation) as refused:
        tried(viewed, "authenticated", MINE, token)
    assert BOB not in str(refused.value)


@pytest.mark.parametrize("role", ["anon", APART])
def test_the_view_is_for_nobody_else(viewed: str, role: str) -> None:
    assert tried(viewed, role, MINE, claims(ADA)) == "permission denied for view my_usage_monthly"


def test_what_lies_behind_the_view_stays_out_of_reach(viewed: str) -> None:
    """Not the hashes, not who wrote the row, not the other tables; and nothing can be written."""
    token = claims(ADA)
    for name in (
        "row_count",
        "usage_hash",
        "written_hash",
        "rates_hash",
        "overrides_hash",
        "credits_hash",
        "run_id",
        "revision",
    ):
        with pytest.raises(psycopg.errors.UndefinedColumn):
            tried(viewed, "authenticated", f"SELECT {name} FROM my_usage_monthly", token)
        assert "permission denied" in tried(viewed, "authenticated", f"SELECT {name} FROM rollup.user_monthly", token)
    for table in OWN:
        allowed = [()] if table == "user_monthly" else "permission denied"
        found = tried(viewed, "authenticated", READ.format(table), token)
        assert found == allowed or str(found).startswith(str(allowed)), table
        for statement in (*WRITES, "TRUNCATE rollup.{}"):
            assert "permission denied" in tried(viewed, "authenticated", statement.format(table), token)
    for statement in ("UPDATE my_usage_monthly SET total_cost = 0", "DELETE FROM my_usage_monthly"):
        assert "permission denied" in tried(viewed, "authenticated", statement, token)


def test_a_function_that_tells_sees_no_other_rows(viewed: str) -> None:
    """One that costs nothing is called before the conditions of a view that is no barrier."""
    do(viewed, "CREATE FUNCTION told(text) RETURNS boolean COST 0.0000001 LANGUAGE plpgsql AS"
               " $$ BEGIN PERFORM set_config('my.seen', concat(current_setting('my.seen', true), $1), true);"
               " RETURN true; END $$")  # fmt: skip
    for source in ("my_usage_monthly", "rollup.user_monthly"):
        text = f"SELECT (SELECT count(*) FROM {source} WHERE told(user_id)), current_setting('my.seen', true)"
        found = tried(viewed, "authenticated", text, claims(ADA))
        assert (len(found), BOB in str(found)) == (1, False)
        assert str(found).startswith("[(1,")


@pytest.mark.thorough
def test_schema_apply_keeps_the_view_at_work(viewed: str, tmp_path: Path) -> None:
    """Also with a meter more, which is one more column; and the job itself sees every row."""
    two = "".join(f'[meters.{name}]\ncolumn = "{name}"\n' for name in ("cpu_hours", "gpu_hours"))
    more = f'{two}[meters.disk]\ncolumn = "storage_gb"\n'
    cards = "".join(RATES.splitlines(keepends=True)[:3]) + "disk,2020-01-01,0,1,1,list\n"
    for settings, rates in (("", RATES), (more, cards)):
        configured(tmp_path, settings=settings, rates=rates)
        applied(viewed)
        applied(viewed)
        assert tried(viewed, "authenticated", "SELECT user_id FROM my_usage_monthly", claims(BOB)) == [(BOB,)]
        assert tried(viewed, "anon", MINE, claims(ADA)) == "permission denied for view my_usage_monthly"
        assert notes(viewed) == []
        assert usage_jobs("run", url=viewed).code == 3
    assert tried(viewed, "authenticated", "SELECT disk_cost FROM my_usage_monthly", claims(ADA)) == [(0,)]


def test_the_view_is_made_again_without_harm(viewed: str) -> None:
    done = usage_jobs("schema", "--user-view", "--apply", url=viewed)
    assert done.code == 0, ended(done)
    assert len(tried(viewed, "authenticated", MINE, claims(ADA))) == 1


def test_what_is_printed_is_what_is_applied(url: str, viewed: str) -> None:
    printed = usage_jobs("schema", "--user-view")
    assert printed.code == 0
    do(viewed, "DROP VIEW my_usage_monthly")
    do(url, printed.out.replace("BEGIN;", "").replace("COMMIT;", ""))
    assert len(tried(url, "authenticated", MINE, claims(ADA))) == 1
    told = usage_jobs("schema", "--user-view", "--json").object
    assert told["applied"] is False


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE my_usage_monthly (note text); INSERT INTO my_usage_monthly VALUES ('mine')",
        "CREATE VIEW my_usage_monthly AS SELECT 'mine' AS note",
        "CREATE MATERIALIZED VIEW my_usage_monthly AS SELECT 'mine' AS note",
    ],
)
def test_what_has_that_name_already_and_is_anothers_stays(url: str, statement: str) -> None:
    do(url, statement)
    done = usage_jobs("schema", "--user-view", "--apply", url=url)
    assert (done.code, "my_usage_monthly" in done.err) == (5, True), ended(done)
    applied(url)
    assert ask(url, MINE) == [{"note": "mine"}]
