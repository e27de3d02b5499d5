"""`schema --role`: the role does everything that the job does, as if it owned the place, and can do nothing else.

All grants, and all policies, are taken away at once: `check` names each. One of each kind is taken away in turn: a run
refuses or does without it. A role that lost a policy reads no rows and gets no error, so that a run must refuse.
"""

import contextlib
import os
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from commands import ask, configured
from drift_figures import differences, digest, figures
from drift_verdicts import ended
from drift_world import BEFORE, CARDS, command, do
from psycopg.errors import InsufficientPrivilege
from role_world import RIGHTS, Grant, Roles, as_role, changed, every_grant, grants, looks, night, refused

from jobs.reports.export_request import BY

pytestmark = pytest.mark.direct(reason="the role is its own")

NAMES = "names and e-mail addresses of users"
THOROUGH = pytest.mark.thorough
SHAPES = [
    pytest.param("a", "rated"),
    pytest.param("b", "recorded", marks=THOROUGH),
    pytest.param("c", "recorded", marks=THOROUGH),
]
NIGHT = [3, 3, 3]
"""run; run after changes, with a row that stays rejected, and a backfill."""
READ = [0, 3, 6, 0, 0, 0]
"""check, dry run; watch (of May), reconcile, explain, runs."""


@pytest.fixture
def url(owner: str, role: str) -> str:
    """The same database for the role."""
    return as_role(owner, role)


def findings(url: str) -> dict[str, dict[str, Any]]:
    """What `check` has to say, by subject and found: one subject may lack several privileges."""
    ran = command("a", url, "check", "--json", today=BEFORE)
    assert ran.code in (0, 5), ended(ran)
    return {f"{f['subject']}: {f['found']}": f for f in ran.object["findings"] if f["level"] != "ok"}


# Everything that the job does


@pytest.mark.parametrize(("shape", "cost"), SHAPES)
def test_the_role_does_all_that_the_job_does(role_databases: Roles, tmp_path: Path, shape: str, cost: str) -> None:
    """Two nights end in the same figures as the owner's, and check finds no privilege missing, and none too many."""
    configured(tmp_path, rates=CARDS)
    role_databases.directory = tmp_path
    mine, theirs = role_databases.copy(shape, cost), role_databases.copy(shape, cost)
    url = as_role(mine, role_databases.role(shape, cost))
    read = looks(shape, url, cost, before=True)
    ran = night(shape, url, mine, cost)
    assert [one.code for one in ran] == NIGHT, [ended(one) for one in ran]
    read += looks(shape, url, cost, before=False)
    assert [one.code for one in read] == READ, [ended(one) for one in read]
    spoken = [f for f in read[0].object["findings"] if re.search("privilege|GRANT|REVOKE|role|security", str(f))]
    # Names and e-mail addresses are granted by the owner, if at all.
    assert [finding for finding in spoken if finding["level"] != "ok" and finding["subject"] != NAMES] == []
    assert [one.code for one in night(shape, theirs, theirs, cost)] == NIGHT
    assert differences(figures(mine), figures(theirs)) == []
    assert ask(mine, "SELECT count(*) AS kinds FROM rollup.runs WHERE kind = 'adopt'") == [{"kinds": shape != "c"}]
    for url in (mine, theirs):
        role_databases.copies.drop(url)


def test_a_role_of_another_program_is_left_alone(owner: str) -> None:
    """The application's own role, on whose privileges it lives; as soon as it is handed over, it is ours."""
    name = f"application_{os.getpid()}"
    do(owner, f"CREATE ROLE {name} LOGIN; GRANT SELECT ON usage_daily TO {name}")
    try:
        for words in ((), ("--apply",)):
            ran = command("a", owner, "schema", "--role", name, *words)
            assert ran.code == 2, ran.out
            assert f"--role {name}: expected a new role, or one that this command has made" in ran.err
        assert ask(owner, "SELECT has_table_privilege(%s, 'usage_daily', 'SELECT') AS may", name) == [{"may": True}]
        do(owner, ran.err.split("hand it over: ")[1])
        assert command("a", owner, "schema", "--role", name, "--apply").code == 0
        assert command("a", owner, "schema", "--role", name, "--apply").code == 0
    finally:
        do(owner, f"DROP OWNED BY {name}; DROP ROLE {name}")


# Nothing else

FORBIDDEN = (
    *("SELECT api_key FROM hopsworks_clusters", "SELECT kubeconfig FROM hopsworks_clusters", "SELECT email FROM users"),
    *("SELECT * FROM hopsworks_clusters", "SELECT h FROM hopsworks_clusters AS h", "SELECT id FROM subscriptions"),
    *("SELECT created_at FROM usage_daily", "SELECT cmin FROM usage_daily", "SELECT cpu_hours_used FROM user_credits"),
    *("SELECT xmin FROM usage_daily", "SELECT ctid FROM usage_daily"),
    *("UPDATE usage_daily SET cpu_hours = 0", "UPDATE usage_daily SET total_cost = 0", "DELETE FROM usage_daily"),
    *("INSERT INTO usage_daily (user_id) VALUES ('eve')", "UPDATE users SET billing_mode = 'postpaid'"),
    *("UPDATE user_credits SET total_purchased = 1000", "DELETE FROM user_credits", "DELETE FROM users"),
    "INSERT INTO user_credits (user_id, total_purchased) VALUES ('eve', 1000)",
    *("UPDATE credit_transactions SET amount = 0", "DELETE FROM credit_transactions"),
    "INSERT INTO credit_transactions (id, user_id) VALUES (gen_random_uuid(), 'eve')",
    *("UPDATE user_pricing_overrides SET override_price = 0", "DELETE FROM user_pricing_overrides"),
    "INSERT INTO user_pricing_overrides (user_id) VALUES ('eve')",
    *(f"UPDATE rollup.{name} SET run_id = 0" for name in ("credit_draws", "billing_modes", "corrections")),
    *(f"DELETE FROM rollup.{name}" for name in ("credit_draws", "billing_modes", "corrections", "runs", "months")),
    *(f"TRUNCATE {name}" for name in ("usage_daily", "users", "user_credits", "credit_transactions")),
    *(f"TRUNCATE rollup.{name}" for name in RIGHTS),
    *(f"DROP TABLE rollup.{name}" for name in RIGHTS),
    *("CREATE TABLE x ()", "CREATE TABLE rollup.x ()", "CREATE SCHEMA x", "CREATE VIEW x AS SELECT 1"),
    *("ALTER TABLE usage_daily ADD COLUMN x text", "ALTER TABLE rollup.credit_draws DISABLE TRIGGER ALL"),
    "CREATE OR REPLACE FUNCTION rollup.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    *("DROP POLICY service_role_all ON users", "ALTER TABLE users DISABLE ROW LEVEL SECURITY"),
    *("CREATE TRIGGER x BEFORE INSERT ON usage_daily EXECUTE FUNCTION rollup.refuse_change()", "CREATE ROLE x"),
    *("SET ROLE service_role", "SET ROLE postgres", "SET session_replication_role = replica"),
    *("COPY users TO PROGRAM 'cat'", "SELECT pg_read_file('/etc/passwd')", "SELECT * FROM pg_authid"),
    *("LOCK TABLE usage_daily IN ACCESS EXCLUSIVE MODE", "VACUUM FULL usage_daily", "REINDEX TABLE usage_daily"),
)


def test_the_role_may_not(url: str, owner: str, role: str) -> None:
    """Insufficient privilege, or must not in a transaction, which comes after it for who may."""
    ended_with = {statement: refused(url, statement) or "none" for statement in FORBIDDEN}
    assert {text: why for text, why in ended_with.items() if why.split()[0] not in ("42501", "25001")} == {}
    # Nor may it pass on what it may: PostgreSQL warns where nothing is granted, or refuses.
    with psycopg.connect(url, autocommit=True) as connection:
        for grant in grants(owner, role):
            with contextlib.suppress(InsufficientPrivilege):
                connection.execute(grant.statement("GRANT", "anon").encode())
    assert [grant for grant in grants(owner, "anon") if grant.table.startswith("rollup.")] == []
    for words in (("--apply",), ("--role", role, "--apply"), ("--user-view", "--apply")):
        done = command("a", url, "schema", *words)
        assert (done.code, "Traceback" in done.err) == (5, False), ended(done)


# Each grant


def test_the_script_grants_this_and_nothing_else(owner: str, role: str) -> None:
    """One policy for each action, no password, and nothing of a cluster's secrets."""
    assert set(map(str, grants(owner, role))) == set(map(str, every_grant()))
    found = {(row["place"].removeprefix("public."), row["cmd"]) for row in ask(owner, POLICIES, role)}
    assert found == {(table, action) for table, actions in ACTIONS.items() for action in actions.split()}
    script = command("a", owner, "schema", "--role", role).out
    assert re.search(r"PASSWORD\s+'|api_key|kubeconfig", script, re.IGNORECASE) is None


def test_every_grant_that_lacks_is_named(owner: str, url: str, role: str) -> None:
    """By table, column and right, each with the statement that gives it back; all of them together are enough."""
    every = every_grant()
    do(owner, "".join(grant.statement("REVOKE", role) for grant in every))
    found = list(findings(url).values())
    for grant in every:
        named = [f for f in found if f["subject"] == _subject(grant) and grant.right in f["found"]]
        assert len(named) == 1, grant
        assert f"GRANT {grant.right}" in named[0]["remedy"] or f", {grant.right}" in named[0]["remedy"]
        assert role in named[0]["remedy"]


def _subject(grant: Grant) -> str:
    return grant.table if grant.column is None else f"{grant.table}.{grant.column}"


NEEDED = (
    *(Grant("usage_daily", "cpu_hours", "SELECT"), Grant("usage_daily", "credits_deducted", "UPDATE")),
    *(Grant("hopsworks_clusters", "name", "SELECT"), Grant("users", "billing_mode", "SELECT")),
    *(Grant("user_credits", "total_used", "UPDATE"), Grant("credit_transactions", "amount", "INSERT")),
    *(Grant("credit_transactions", "metadata", "SELECT"), Grant("user_pricing_overrides", "valid_until", "SELECT")),
    *(Grant("rollup.months", None, "SELECT"), Grant("rollup.billing_modes", None, "INSERT")),
    *(Grant("rollup.rejects", None, "UPDATE"), Grant("rollup.cluster_daily", None, "DELETE")),
)
"""Of each table of the application one column, and of ours each right."""


@pytest.mark.parametrize("grant", NEEDED, ids=str)
def test_a_grant_that_is_taken_away_was_needed(
    owner: str, url: str, role: str, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(owner, grant.statement("REVOKE", role))
    [level] = [f["level"] for f in findings(url).values() if f["subject"] == _subject(grant)]
    _runs(url, owner, level, _subject(grant))
    monkeypatch.setattr("jobs.postgres.preflight.refuse_findings", lambda *_, **__: None)
    assert _missed(url, owner), "the job does without it"


def _runs(url: str, owner: str, level: str, subject: str) -> None:
    """A run refuses by name what it cannot do without; `reconcile` what it cannot prove."""
    before = digest(owner)
    ran = command("a", url, "run", today=BEFORE)
    if level in ("refused", "unwritable"):
        assert (ran.code, subject in ran.err) == (5, True), ended(ran)
        assert digest(owner) == before
        return
    assert ran.code == 3, ended(ran)
    reconciled = command("a", url, "reconcile", today=BEFORE)
    assert (reconciled.code, subject in reconciled.err) == ((5, True) if level == "unprovable" else (0, False))


def _missed(url: str, owner: str) -> bool:
    """Whether some command fails for want of it, or leaves a name out, where nothing looks before."""
    for words, code in ((("run",), 3), (("reconcile",), 0), (("explain", "--user", "ada", "--month", "2026-06"), 0)):
        if command("a", url, *words, today=BEFORE).code != code:
            return True
    do(owner, changed("a"))
    # A month before the first counts as closed.
    do(owner, "INSERT INTO usage_daily (user_id, date, cpu_hours) SELECT id, date '2026-02-10', 1 FROM users LIMIT 1")
    late = ("backfill", "--from", "2026-02-01", "--to", "2026-02-28", "--yes", "--reason", "late")
    every = ((("run",), 3), (late, 0), (("reconcile",), 0))
    failed = any(command("a", url, *words).code != code for words, code in every)
    return failed or not ask(owner, "SELECT 1 FROM rollup.cluster_monthly WHERE cluster_name IS NOT NULL")


@pytest.mark.parametrize(
    ("statement", "subject"),
    [
        ("REVOKE USAGE ON SCHEMA public FROM {role}, PUBLIC", "schema public"),
        ("REVOKE USAGE ON SCHEMA rollup FROM {role}", "schema rollup"),
        ("REVOKE TEMPORARY ON DATABASE {database} FROM {role}, PUBLIC", "database"),
    ],
)
def test_what_is_granted_on_more_than_tables_is_needed_too(
    owner: str, url: str, role: str, statement: str, subject: str
) -> None:
    do(owner, statement.format(role=role, database=owner.rpartition("/")[2]))
    named = [finding for finding in findings(url).values() if finding["subject"] == subject]
    assert [finding["level"] in ("refused", "unwritable") for finding in named] == [True]
    assert f"GRANT {'TEMPORARY' if subject == 'database' else 'USAGE'}" in named[0]["remedy"]
    ran = command("a", url, "run", today=BEFORE)
    assert (ran.code, subject in ran.err) == (5, True), ended(ran)
    repaired = command("a", owner, "schema", "--role", role, "--apply")
    assert repaired.code == 0, ended(repaired)
    assert command("a", url, "run", today=BEFORE).code == 3


# Each policy

POLICIES = """
SELECT tablename AS table, schemaname || '.' || tablename AS place, policyname AS policy, cmd FROM pg_policies
WHERE %s = ANY(roles) ORDER BY 2, 3"""
ACTIONS = {
    **dict.fromkeys(("users", "hopsworks_clusters", "user_pricing_overrides"), "SELECT"),
    **dict.fromkeys(("usage_daily", "user_credits"), "SELECT UPDATE"),
    "credit_transactions": "SELECT INSERT",
    **{f"rollup.{name}": " ".join(rights) for name, rights in RIGHTS.items()},
}


def test_every_policy_that_lacks_is_named(owner: str, url: str, role: str) -> None:
    do(owner, "".join(f'DROP POLICY "{row["policy"]}" ON {row["place"]};' for row in ask(owner, POLICIES, role)))
    found = [finding for finding in findings(url).values() if "no policy lets it" in finding["found"]]
    told = {f["subject"].removeprefix("public.").partition(",")[0]: f["found"].split("lets it ")[1] for f in found}
    assert {table: set(actions.split(", ")) for table, actions in told.items()} == {
        table: set(actions.split()) for table, actions in ACTIONS.items()
    }


@pytest.mark.parametrize(
    ("table", "action"),
    [
        ("usage_daily", "UPDATE"),
        ("user_credits", "SELECT"),
        ("hopsworks_clusters", "SELECT"),
        ("rollup.runs", "INSERT"),
    ],
)
def test_a_policy_that_is_taken_away_is_named_and_the_run_refuses(
    owner: str, url: str, role: str, table: str, action: str
) -> None:
    """One that a run needs to write, one to read, one that it does without, and one of ours."""
    [policy] = [
        row["policy"]
        for row in ask(owner, POLICIES, role)
        if (row["place"].removeprefix("public."), row["cmd"]) == (table, action)
    ]
    do(owner, f'DROP POLICY "{policy}" ON {table}')
    [named] = [f for f in findings(url).values() if table in f["subject"] and action in f["found"]]
    _runs(url, owner, named["level"], table)


@pytest.mark.parametrize("how", ["PERMISSIVE", "RESTRICTIVE"])
def test_a_policy_that_hides_some_rows_is_named(owner: str, url: str, role: str, how: str) -> None:
    """The job's own are replaced by one that shows some, or narrowed by another."""
    narrowed = ["usage_daily", "users", "user_credits", "user_pricing_overrides", "rollup.months"]
    for row in ask(owner, POLICIES, role) if how == "PERMISSIVE" else []:
        if row["place"].removeprefix("public.") in narrowed and row["cmd"] == "SELECT":
            do(owner, f'DROP POLICY "{row["policy"]}" ON {row["place"]}')
    known = findings(url).keys()
    for table in narrowed:
        do(owner, f"CREATE POLICY narrow ON {table} AS {how} FOR SELECT TO {role} USING (random() < 2)")
    new = [finding["subject"].removeprefix("public.") for key, finding in findings(url).items() if key not in known]
    assert sorted(subject.partition(",")[0] for subject in new) == sorted(narrowed)


def test_rows_that_a_policy_hides_of_a_sudden_stop_the_run(owner: str, url: str, role: str) -> None:
    """The brake: half of the users are not there any more, and no error says so."""
    assert command("a", url, "run", today=BEFORE).code == 3
    do(owner, f"CREATE POLICY narrow ON usage_daily AS RESTRICTIVE FOR SELECT TO {role} USING (false)")
    before = figures(owner)
    ran = command("a", url, "run", today=BEFORE)
    assert ran.code == 5, ended(ran)
    assert differences(figures(owner), before) == []


def test_names_need_a_grant_that_check_gives(owner: str, url: str) -> None:
    """A note, which never refuses; once granted, they are no privilege too many, and exports have them."""
    note = next(finding for finding in findings(url).values() if finding["subject"] == NAMES)
    assert (note["level"], note["found"]) == ("note", "no SELECT (email, name)")
    assert command("a", url, "run", today=BEFORE).code == 3
    without = command("a", url, "export", "--month", "2026-06", today=BEFORE)
    assert (without.code, "user_email" in without.out) == (0, False), ended(without)
    assert "without user_name and user_email" in without.err
    known = findings(url).keys()
    do(owner, note["remedy"])
    assert findings(url).keys() == known - {f"{NAMES}: no SELECT (email, name)"}
    given = command("a", url, "export", "--month", "2026-06", today=BEFORE)
    assert given.out.splitlines()[0].startswith("month,user_id,user_name,user_email,")


@pytest.mark.parametrize("by", BY)
def test_the_role_exports_all(owner: str, url: str, by: str) -> None:
    assert command("a", url, "run", today=BEFORE).code == 3
    words = ("export", "--month", "2026-06", "--by", by, "--no-names")
    ours, theirs = (command("a", at, *words, today=BEFORE) for at in (url, owner))
    assert (ours.code, ours.out) == (0, theirs.out), ended(ours)
