"""Nobody but the job reaches the roll-ups: not the roles of the REST API, not by a grant too many, not over a view; and
`check` names each way in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from catalogs import OWN
from commands import applied, ask, configured, usage_jobs
from drift_verdicts import ended
from drift_world import Copies, copies, do
from exposed import APART, OTHERS, READ, WRITES, notes, rolled_up, tried


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


# Two walls


def test_nobody_reaches_the_schema(url: str) -> None:
    writes = (*WRITES, "TRUNCATE rollup.{}", "UPDATE rollup.{} SET run_id = 0")
    statements = [statement.format(table) for table in OWN for statement in (READ, *writes)]
    for role in OTHERS:
        for statement in (*statements, "CREATE TABLE rollup.x ()", "SELECT nextval('rollup.runs_run_id_seq')"):
            assert tried(url, role, statement) == "permission denied for schema rollup"
        assert granted(url, role) == []
    assert notes(url) == []


def granted(url: str, role: str) -> list[dict[str, Any]]:
    """What of the schema's a role may use, whatever is granted by default."""
    return ask(
        url,
        "SELECT relname AS name FROM pg_class AS c WHERE relnamespace = 'rollup'::regnamespace AND"
        " CASE relkind WHEN 'r' THEN has_table_privilege(%s, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')"
        " WHEN 'S' THEN has_sequence_privilege(%s, c.oid, 'USAGE, SELECT, UPDATE') ELSE false END"
        " UNION SELECT proname FROM pg_proc AS p WHERE pronamespace = 'rollup'::regnamespace"
        " AND has_function_privilege(%s, p.oid, 'EXECUTE')",
        *(role, role, role),
    )


def test_another_programs_tables_in_the_schema_stay_as_they_are(url: str) -> None:
    role = "anon"
    do(url, f"CREATE TABLE rollup.theirs (n int); GRANT USAGE ON SCHEMA rollup TO {role}")
    do(url, f"GRANT SELECT ON rollup.theirs TO {role}; GRANT SELECT ON rollup.user_monthly TO {role}")
    assert usage_jobs("schema", "--apply", url=url).code == 0
    assert tried(url, role, READ.format("theirs")) == []
    assert tried(url, role, READ.format("user_monthly")) == "permission denied for table user_monthly"


def opened(url: str, role: str, rights: str = "SELECT, INSERT, UPDATE, DELETE") -> None:
    """What somebody grants who wants to look at something in a hurry."""
    do(url, f"GRANT USAGE ON SCHEMA rollup TO {role}; GRANT {rights} ON ALL TABLES IN SCHEMA rollup TO {role}")


def test_behind_a_grant_too_many_every_row_is_hidden(url: str) -> None:
    for role in OTHERS:
        opened(url, role)
        for table in OWN:
            assert tried(url, role, READ.format(table)) == []
            assert "row-level security" in tried(url, role, WRITES[0].format(table))
            if table not in ("credit_draws", "billing_modes", "corrections"):  # they refuse by themselves
                assert tried(url, role, WRITES[1].format(table)) == []


@pytest.mark.parametrize("role", ["anon", "PUBLIC"])
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
    reset(url, database)


def reset(url: str, database: str) -> None:
    for scope in (
        f"ROLE authenticator IN DATABASE {database}",
        "ROLE authenticator",
        "ROLE authenticator IN DATABASE postgres",
        f"DATABASE {database}",
    ):
        do(url, f"ALTER {scope} RESET ALL")


@pytest.mark.thorough
def test_a_schema_that_the_api_serves_is_noted(elsewhere: tuple[str, str]) -> None:
    url, schema = elsewhere
    for statement in HIDDEN:
        do(url, statement.format(database=schema, schema=schema))
    assert notes(url) == []
    reset(url, schema)
    for statement in EXPOSED:
        do(url, statement.format(database=schema, schema=schema))
        [note] = notes(url)
        assert schema in note["found"]
        assert "schemas" in note["remedy"]
        reset(url, schema)
    assert notes(url) == []


# Views

OPEN = {
    "view all_costs": "CREATE VIEW all_costs AS SELECT * FROM rollup.user_monthly",
    "view costs": "CREATE VIEW costs WITH (security_invoker = false) AS SELECT * FROM rollup.credit_draws",
    "view who": "CREATE VIEW who WITH (security_barrier) AS SELECT user_id FROM users JOIN rollup.months ON true"
    " JOIN user_credits ON true",
    "view outer_view": "CREATE VIEW inner_view WITH (security_invoker) AS SELECT * FROM rollup.months;"
    " CREATE VIEW outer_view AS SELECT * FROM inner_view",
    "view kept": "CREATE MATERIALIZED VIEW kept AS SELECT * FROM rollup.cluster_daily",
    "view elsewhere.costs": "CREATE SCHEMA elsewhere; CREATE VIEW elsewhere.costs AS SELECT * FROM rollup.runs",
}
CLOSED = """
CREATE VIEW closed WITH (security_invoker = true) AS SELECT * FROM rollup.user_monthly;
CREATE VIEW closed_too WITH (security_invoker = on) AS SELECT * FROM rollup.user_monthly;
CREATE VIEW closed_as_well WITH (security_invoker = 1, security_barrier = true) AS SELECT * FROM rollup.user_monthly;
CREATE VIEW usage AS SELECT sum(total_cost) FROM usage_daily;
"""


def test_a_view_that_reads_with_its_owners_rights_is_noted(url: str) -> None:
    """One that reads with its reader's is not."""
    do(url, CLOSED)
    assert notes(url) == []
    assert "permission denied" in tried(url, "anon", "SELECT * FROM closed")
    do(url, ";".join(OPEN.values()))
    assert sorted(note["subject"].replace("public.", "") for note in notes(url)) == sorted(OPEN)


@pytest.mark.thorough
def test_without_the_apis_roles_there_is_nothing_to_expose(server_directory: Path, tmp_path: Path) -> None:
    """A plain PostgreSQL knows neither anon nor authenticated."""
    from jobs.demo.server import run_server

    configured(tmp_path)
    with run_server(server_directory) as url:
        do(url, "CREATE TABLE usage_daily (id uuid PRIMARY KEY, user_id text, date date, hopsworks_cluster_id uuid,"
                " total_cost numeric, cpu_hours numeric, gpu_hours numeric, storage_gb numeric,"
                " feature_store_api_calls integer, model_inference_calls integer)")  # fmt: skip
        applied(url)
        assert notes(url) == []
        done = usage_jobs("schema", "--user-view", "--apply", url=url)
        assert (done.code, "anon" in done.err) == (5, True), ended(done)
        assert usage_jobs("run", url=url).code == 0
