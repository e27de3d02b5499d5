"""Nobody but the job reaches the roll-ups: not the roles of the REST API, not by a grant too many, not over a view; and
`check` names each way in. The view for signed-in users shows their own months and nothing else."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from catalogs import OWN
from commands import CLUSTER, add_usage, applied, ask, configured, insert, usage_jobs
from conftest import SHAPES
from drift_verdicts import ended
from drift_world import Copies, copies, do
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

APART = "usage_jobs_apart"
"""A role of nobody's: what PUBLIC may do."""
MAKE = """DO $$ BEGIN CREATE ROLE {} NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;"""
ADA, BOB = "auth0|66a0", "google-oauth2|1178"
OTHERS = ("anon", "authenticated", APART)


def rolled_up(url: str) -> None:
    """Two users with a month each, as Supabase knows them, behind everything that Supabase grants by default."""
    roles = "".join(MAKE.format(role) for role in (APART, "authenticator"))
    everything = "".join(
        f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {what} TO anon, authenticated;"
        for what in ("TABLES", "SEQUENCES", "FUNCTIONS")
    )
    do(url, SHAPES["a"].read_text(encoding="utf-8") + ";" + roles + everything)
    applied(url)
    for user in (ADA, BOB):
        insert(url, "users", id=user, billing_mode="prepaid")
        insert(url, "user_credits", user_id=user, total_purchased=1)
        add_usage(url, user_id=user, hopsworks_cluster_id=CLUSTER)
    add_usage(url, user_id=BOB, cpu_hours=-1)
    ran = usage_jobs("run", url=url)
    assert ran.code == 3, ran.err


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


def tried(url: str, role: str, statement: str, claims: str | None = None) -> list[tuple[Any, ...]] | str:
    """The rows that a statement gives or changes as that role, or why it may not; it is undone."""
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        if claims is not None:
            connection.execute("SELECT set_config('request.jwt.claims', %s, true)", [claims])
        try:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else [()] * max(cursor.rowcount, 0)
        except InsufficientPrivilege as error:
            return str(error).splitlines()[0]
        finally:
            connection.rollback()


READ = "SELECT FROM rollup.{}"
WRITES = (
    "INSERT INTO rollup.{0} OVERRIDING SYSTEM VALUE SELECT (s.t).* FROM (SELECT NULL::rollup.{0} AS t) AS s",
    "DELETE FROM rollup.{}",
)


def notes(url: str, *words: str) -> list[dict[str, Any]]:
    """What `check` notes about exposure; it never refuses for that."""
    ran = usage_jobs("check", "--json", *words, url=url)
    assert ran.code == 0, ran.out
    found = [finding for finding in ran.object["findings"] if finding["expected"] == "not exposed"]
    assert all(finding["consequence"] and finding["remedy"] for finding in found if finding["level"] == "note")
    return [finding for finding in found if finding["level"] != "ok"]


# Two walls


@pytest.mark.parametrize("role", OTHERS)
def test_nobody_reaches_the_schema(url: str, role: str) -> None:
    for table in OWN:
        for statement in (READ, *WRITES, "TRUNCATE rollup.{}", "UPDATE rollup.{} SET run_id = 0"):
            assert tried(url, role, statement.format(table)) == "permission denied for schema rollup"
    for statement in ("CREATE TABLE rollup.x ()", "SELECT nextval('rollup.runs_run_id_seq')"):
        assert tried(url, role, statement) == "permission denied for schema rollup"
    assert notes(url) == []


@pytest.mark.parametrize("role", OTHERS)
def test_nothing_in_the_schema_is_granted_whatever_is_granted_by_default(url: str, role: str) -> None:
    found = ask(
        url,
        "SELECT relname AS name FROM pg_class AS c WHERE relnamespace = 'rollup'::regnamespace AND"
        " CASE relkind WHEN 'r' THEN has_table_privilege(%s, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')"
        " WHEN 'S' THEN has_sequence_privilege(%s, c.oid, 'USAGE, SELECT, UPDATE') ELSE false END"
        " UNION SELECT proname FROM pg_proc AS p WHERE pronamespace = 'rollup'::regnamespace"
        " AND has_function_privilege(%s, p.oid, 'EXECUTE')",
        *(role, role, role),
    )
    assert found == []


def opened(url: str, role: str, rights: str = "SELECT, INSERT, UPDATE, DELETE") -> None:
    """What somebody grants who wants to look at something in a hurry."""
    do(url, f"GRANT USAGE ON SCHEMA rollup TO {role}; GRANT {rights} ON ALL TABLES IN SCHEMA rollup TO {role}")


@pytest.mark.parametrize("role", OTHERS)
def test_behind_a_grant_too_many_every_row_is_hidden(url: str, role: str) -> None:
    opened(url, role)
    for table in OWN:
        assert tried(url, role, READ.format(table)) == []
        assert "row-level security" in tried(url, role, WRITES[0].format(table))
        if table not in ("credit_draws", "billing_modes", "corrections"):  # they refuse by themselves
            assert tried(url, role, WRITES[1].format(table)) == []


@pytest.mark.parametrize("role", ["anon", "authenticated", "PUBLIC"])
def test_a_grant_too_many_is_noted_and_taken_back_by_schema_apply(url: str, role: str) -> None:
    opened(url, role)
    found = notes(url)
    named = {"anon", "authenticated"} if role == "PUBLIC" else {role}
    assert {word for word in ("anon", "authenticated") for note in found if f"role {word}" in note["found"]} == named
    applied(url)
    assert notes(url) == []
    assert (
        tried(url, APART if role == "PUBLIC" else role, READ.format("months")) == "permission denied for schema rollup"
    )


def test_a_role_that_inherits_is_noted_as_well(url: str) -> None:
    """anon reaches what a role that it is a member of was granted."""
    do(url, f"GRANT {APART} TO anon")
    try:
        opened(url, APART)
        assert any("anon" in note["found"] for note in notes(url))
    finally:
        do(url, f"REVOKE {APART} FROM anon")


# The REST API's schemas

EXPOSED = (
    "ALTER ROLE authenticator IN DATABASE {database} SET pgrst.db_schemas = 'public, {schema}'",
    "ALTER ROLE authenticator IN DATABASE {database} SET pgrst.db_schemas = '{schema}'",
    "ALTER ROLE authenticator IN DATABASE {database} SET pgrst.db_schemas = 'public,storage,{schema},graphql_public'",
    'ALTER ROLE authenticator IN DATABASE {database} SET pgrst.db_schemas = \'"public", "{schema}"\'',
    "ALTER ROLE authenticator SET pgrst.db_schemas = 'public, {schema}'",
    "ALTER DATABASE {database} SET pgrst.db_schemas = 'public, {schema}'",
    "ALTER ROLE authenticator IN DATABASE {database} SET pgrst.db_schema = 'public, {schema}'",
)
HIDDEN = (
    "ALTER ROLE authenticator IN DATABASE {database} SET pgrst.db_schemas = 'public, old_{schema}, {schema}_old'",
    "ALTER ROLE authenticator IN DATABASE postgres SET pgrst.db_schemas = 'public, {schema}'",
    "ALTER ROLE authenticator IN DATABASE {database} SET pgrst.db_extra_search_path = 'public, {schema}'",
    "ALTER ROLE authenticator IN DATABASE {database} SET search_path = 'public, {schema}'",
)


@pytest.fixture
def elsewhere(url: str, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A schema that no other test has: settings of roles belong to the whole server."""
    database = url.rpartition("/")[2]
    configured(tmp_path, settings=f'schema = "{database}"\n')
    applied(url)
    yield url, database
    for scope in (
        f"ROLE authenticator IN DATABASE {database}",
        "ROLE authenticator",
        "ROLE authenticator IN DATABASE postgres",
    ):
        do(url, f"ALTER {scope} RESET ALL")


@pytest.mark.parametrize("statement", EXPOSED)
def test_a_schema_that_the_api_serves_is_noted(elsewhere: tuple[str, str], statement: str) -> None:
    url, schema = elsewhere
    assert notes(url) == []
    do(url, statement.format(database=schema, schema=schema))
    [note] = notes(url)
    assert schema in note["found"]
    assert "schemas" in note["remedy"]


@pytest.mark.parametrize("statement", HIDDEN)
def test_a_schema_that_the_api_does_not_serve_is_not(elsewhere: tuple[str, str], statement: str) -> None:
    url, schema = elsewhere
    do(url, statement.format(database=schema, schema=schema))
    assert notes(url) == []


# Views

OPEN = {
    "view public.costs": "CREATE VIEW costs AS SELECT * FROM rollup.user_monthly",
    "view costs": "CREATE VIEW costs WITH (security_invoker = false) AS SELECT * FROM rollup.credit_draws",
    "view who": "CREATE VIEW who WITH (security_barrier) AS SELECT user_id FROM users JOIN rollup.months ON true"
    " JOIN user_credits ON true",
    "view outer_view": "CREATE VIEW inner_view WITH (security_invoker) AS SELECT * FROM rollup.months;"
    " CREATE VIEW outer_view AS SELECT * FROM inner_view",
    "view kept": "CREATE MATERIALIZED VIEW kept AS SELECT * FROM rollup.cluster_daily",
    "view elsewhere.costs": "CREATE SCHEMA elsewhere; CREATE VIEW elsewhere.costs AS SELECT * FROM rollup.runs",
}
CLOSED = (
    "CREATE VIEW costs WITH (security_invoker = true) AS SELECT * FROM rollup.user_monthly",
    "CREATE VIEW costs WITH (security_invoker = on) AS SELECT * FROM rollup.user_monthly",
    "CREATE VIEW costs WITH (security_invoker = 1, security_barrier = true) AS SELECT * FROM rollup.user_monthly",
    "CREATE VIEW costs AS SELECT sum(total_cost) FROM usage_daily",
)


@pytest.mark.parametrize(("name", "statement"), OPEN.items())
def test_a_view_that_reads_with_its_owners_rights_is_noted(url: str, name: str, statement: str) -> None:
    do(url, statement)
    subjects = [note["subject"].replace("public.", "") for note in notes(url)]
    assert subjects == [name.replace("public.", "")]


@pytest.mark.parametrize("statement", CLOSED)
def test_a_view_that_reads_with_its_readers_rights_is_not(url: str, statement: str) -> None:
    do(url, statement)
    assert notes(url) == []
    assert "permission denied" in tried(url, "anon", "SELECT * FROM costs") or "usage_daily" in statement


# The view for signed-in users

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
    for name in ("usage_hash", "rates_hash", "overrides_hash", "credits_hash", "run_id", "revision"):
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


def test_schema_apply_keeps_the_view_at_work(viewed: str, tmp_path: Path) -> None:
    """Also with a meter more, which is one more column; and the job itself sees every row."""
    meters = "".join(f'[meters.{name}]\ncolumn = "{name}"\n' for name in ("cpu_hours", "gpu_hours"))
    rates = "meter,effective_from,tier_from,price,per,reference\ncpu_hours,2020-01-01,0,0.10,1,list\n"
    rates += "gpu_hours,2020-01-01,0,0.50,1,list\n"
    for settings, card in (
        ("", None),
        (meters + '[meters.disk]\ncolumn = "storage_gb"\n', rates + "disk,2020-01-01,0,1,1,x\n"),
    ):
        configured(tmp_path, settings=settings, **({} if card is None else {"rates": card}))
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


def test_without_the_apis_roles_there_is_nothing_to_expose(server_directory: Path, tmp_path: Path) -> None:
    """A plain PostgreSQL knows neither anon nor authenticated."""
    from jobs.demo.server import running

    configured(tmp_path)
    with running(server_directory) as url:
        do(url, "CREATE TABLE usage_daily (id uuid PRIMARY KEY, user_id text, date date, hopsworks_cluster_id uuid,"
                " total_cost numeric, cpu_hours numeric, gpu_hours numeric, storage_gb numeric,"
                " feature_store_api_calls integer, model_inference_calls integer)")  # fmt: skip
        applied(url)
        assert notes(url) == []
        done = usage_jobs("schema", "--user-view", "--apply", url=url)
        assert (done.code, "anon" in done.err) == (5, True), ended(done)
        assert usage_jobs("run", url=url).code == 0
