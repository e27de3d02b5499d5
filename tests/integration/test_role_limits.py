"""A role of the job's own beside what it may too much, other settings, and names that only a quoted role can have."""

import re
from pathlib import Path
from typing import Any

import pytest
from commands import ask, configured
from drift_figures import digest
from drift_verdicts import ended
from drift_world import BEFORE, CARDS, command, do
from role_world import PASSWORD, as_role, every_grant, grants, quoted, refused

pytestmark = pytest.mark.direct(reason="the role is its own")


@pytest.fixture
def url(owner: str, role: str) -> str:
    """The same database for the role."""
    return as_role(owner, role)


def findings(url: str) -> dict[str, dict[str, Any]]:
    """What `check` has to say, by subject and found: one subject may lack several privileges."""
    ran = command("a", url, "check", "--json", today=BEFORE)
    assert ran.code in (0, 5), ended(ran)
    return {f"{f['subject']}: {f['found']}": f for f in ran.object["findings"] if f["level"] != "ok"}


# Each privilege too many

NEEDLESS = {
    "on columns and tables": {
        "GRANT SELECT (api_key) ON hopsworks_clusters TO {role}": ("hopsworks_clusters", "SELECT (api_key)"),
        "GRANT SELECT (status) ON users TO {role}": ("users", "SELECT (status)"),
        "GRANT UPDATE (billing_mode) ON users TO {role}": ("users", "UPDATE (billing_mode)"),
        "GRANT INSERT ON usage_daily TO {role}": ("usage_daily", "INSERT"),
        "GRANT UPDATE (cpu_hours, total_cost) ON usage_daily TO {role}": (
            "usage_daily",
            "UPDATE (cpu_hours, total_cost)",
        ),
        "GRANT REFERENCES ON usage_daily TO {role}": ("usage_daily", "REFERENCES"),
        "GRANT DELETE ON usage_daily TO {role}": ("usage_daily", "DELETE"),
        "GRANT TRIGGER ON usage_daily TO {role}": ("usage_daily", "TRIGGER"),
        "GRANT UPDATE (total_purchased) ON user_credits TO {role}": ("user_credits", "UPDATE (total_purchased)"),
        "GRANT INSERT ON user_credits TO {role}": ("user_credits", "INSERT"),
        "GRANT DELETE ON credit_transactions TO {role}": ("credit_transactions", "DELETE"),
        "GRANT UPDATE (amount) ON credit_transactions TO {role}": ("credit_transactions", "UPDATE (amount)"),
        "GRANT INSERT (id) ON credit_transactions TO {role}": ("credit_transactions", "INSERT (id)"),
        "GRANT SELECT (reason) ON user_pricing_overrides TO {role}": ("user_pricing_overrides", "SELECT (reason)"),
        "GRANT SELECT ON subscriptions TO {role}": ("subscriptions", "SELECT"),
        "GRANT UPDATE ON rollup.credit_draws TO {role}": ("rollup.credit_draws", "UPDATE"),
        "GRANT DELETE ON rollup.credit_draws TO {role}": ("rollup.credit_draws", "DELETE"),
        "GRANT TRUNCATE ON rollup.credit_draws TO {role}": ("rollup.credit_draws", "TRUNCATE"),
        "GRANT TRUNCATE ON rollup.user_monthly TO {role}": ("rollup.user_monthly", "TRUNCATE"),
        "GRANT DELETE ON rollup.runs TO {role}": ("rollup.runs", "DELETE"),
        "GRANT USAGE, UPDATE ON SEQUENCE rollup.runs_run_id_seq TO {role}": ("rollup.runs_run_id_seq", "UPDATE"),
    },
    "on more than these": {
        "GRANT SELECT ON hopsworks_clusters TO {role}": ("hopsworks_clusters", "kubeconfig"),
        "GRANT SELECT ON subscriptions TO PUBLIC": ("subscriptions", "SELECT"),
        "CREATE VIEW x AS SELECT * FROM users; GRANT SELECT ON x TO {role}": ("public.x", "SELECT"),
        "GRANT CREATE ON SCHEMA public TO {role}": ("", "CREATE on schema public"),
        "GRANT CREATE ON SCHEMA rollup TO {role}": ("", "CREATE on schema rollup"),
        "GRANT CREATE ON DATABASE {database} TO {role}": ("", "CREATE on database"),
        "ALTER ROLE {role} BYPASSRLS": ("", "BYPASSRLS"),
        "ALTER ROLE {role} CREATEROLE": ("", "CREATEROLE"),
        "ALTER ROLE {role} CREATEDB": ("", "CREATEDB"),
        "ALTER ROLE {role} REPLICATION": ("", "REPLICATION"),
    },
    "of another role": {
        "GRANT service_role TO {role}": ("", "service_role"),
        "GRANT pg_read_all_data TO {role}": ("", "pg_read_all_data"),
    },
}
UNDO = (
    "REVOKE service_role, pg_read_all_data FROM {role};"
    " ALTER ROLE {role} NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION"
)


@pytest.mark.parametrize("some", NEEDLESS.values(), ids=NEEDLESS)
def test_privileges_too_many_are_named_and_stop_nothing(
    owner: str, url: str, role: str, some: dict[str, tuple[str, str]]
) -> None:
    known = findings(url).keys()
    do(owner, "; ".join(some).format(role=role, database=owner.rpartition("/")[2]))
    try:
        new = [finding for key, finding in findings(url).items() if key not in known]
        assert {finding["level"] for finding in new} == {"note"}
        said = [(finding["subject"], finding["found"]) for finding in new]
        for table, found in some.values():
            assert any(table in subject and found in held for subject, held in said), (table, found, said)
        assert command("a", url, "run", today=BEFORE).code == 3
    finally:
        do(owner, UNDO.format(role=role))


def test_the_script_takes_away_what_the_role_had_before(owner: str, url: str, role: str) -> None:
    before = set(map(str, grants(owner, role)))
    for what in ("ALL ON ALL TABLES IN SCHEMA public, rollup", "ALL ON ALL SEQUENCES IN SCHEMA rollup",
                 "SELECT (api_key) ON hopsworks_clusters", "CREATE ON SCHEMA public, rollup"):  # fmt: skip
        do(owner, f"GRANT {what} TO {role}")
    assert refused(url, "SELECT kubeconfig FROM hopsworks_clusters") is None
    done = command("a", owner, "schema", "--role", role, "--apply")
    assert done.code == 0, ended(done)
    assert set(map(str, grants(owner, role))) == before
    for statement in ("SELECT kubeconfig FROM hopsworks_clusters", "CREATE TABLE x ()", "CREATE TABLE rollup.x ()"):
        assert (refused(url, statement) or "").startswith("42501")
    assert [finding for finding in findings(url).values() if "More than the job" in finding["consequence"]] == []


def test_an_owner_is_warned_once_that_it_may_everything(owner: str) -> None:
    [told] = [f for f in findings(owner).values() if "More than the job" in f["consequence"]]
    assert told["level"] == "note"
    assert "schema --role" in told["remedy"]


# Other settings, other shapes, other roles


def test_rated_costs_and_a_new_meter_are_one_grant_more_each(owner: str, url: str, role: str, tmp_path: Path) -> None:
    configured(tmp_path, rates=CARDS, settings='cost = "rated"\n')
    do(owner, "ALTER TABLE usage_daily ADD COLUMN instance_hours numeric")
    found = findings(url).values()
    [missing] = [f for f in found if f["subject"] == "usage_daily.total_cost"]
    assert (missing["level"], "UPDATE" in missing["found"]) == ("unwritable", True)
    [missing] = [f for f in found if f["subject"].startswith("usage_daily.instance_hours")]
    assert "GRANT SELECT (instance_hours)" in missing["remedy"]
    assert command("a", url, "run", today=BEFORE).code == 5
    assert command("a", owner, "schema", "--role", role, "--apply").code == 0
    assert command("a", url, "run", today=BEFORE).code == 3
    assert {"UPDATE usage_daily.total_cost", "SELECT usage_daily.instance_hours"} <= set(map(str, grants(owner, role)))


def test_two_roles_side_by_side(owner: str) -> None:
    """Names of policies are cut at 63 bytes: those of two roles must differ all the same."""
    some = [f"{owner.rpartition('/')[2]:_<62}{number}"[-63:] for number in (1, 2)]
    try:
        for other in some:
            assert command("a", owner, "schema", "--role", other, "--apply").code == 0
            do(owner, f"ALTER ROLE {other} PASSWORD '{PASSWORD}'")
        assert command("a", as_role(owner, some[0]), "check", today=BEFORE).code == 0
        for other in some:
            assert command("a", as_role(owner, other), "run", today=BEFORE).code == 3
    finally:
        for other in some:
            do(owner, f"DROP OWNED BY {other}; DROP ROLE {other}")


@pytest.mark.parametrize("name", ['Ünï "O\'Hara"; -- %s {} %(x)s', "1st", "long" * 15])
def test_any_name_is_quoted_rightly(owner: str, name: str) -> None:
    """By --apply as by the script that is printed."""
    other = f"{name[:45]}{owner[-6:]}"
    sql_name = quoted(other)
    try:
        done = command("a", owner, "schema", "--role", other, "--apply")
        assert done.code == 0, ended(done)
        applied = set(map(str, grants(owner, sql_name)))
        assert applied == set(map(str, every_grant()))
        do(owner, f"DROP OWNED BY {sql_name}; DROP ROLE {sql_name}")
        script = command("a", owner, "schema", "--role", other).out
        do(owner, re.sub("^(BEGIN|COMMIT);$", "", script, flags=re.MULTILINE))
        do(owner, f"ALTER ROLE {sql_name} PASSWORD '{PASSWORD}'")
        assert set(map(str, grants(owner, sql_name))) == applied
        assert command("a", as_role(owner, other), "run", today=BEFORE).code == 3
    finally:
        if ask(owner, "SELECT 1 FROM pg_roles WHERE rolname = %s", other):
            do(owner, f"DROP OWNED BY {sql_name}; DROP ROLE {sql_name}")


PLATFORM = ("anon", "authenticated", "service_role")
"""Roles that others act as: whoever calls the REST API would do what the job does."""


def test_a_name_that_cannot_be_a_role_of_the_jobs_own_is_refused(owner: str) -> None:
    before, rights = digest(owner), ask(owner, RIGHTS)
    for name in ("", "public", "none", "pg_monitor", "pg_new", "x" * 64, "$$", *PLATFORM):
        done = command("a", owner, "schema", "--role", name, "--apply")
        assert done.code in (2, 5), f"{name}: {ended(done)}"
        assert name in done.err
    assert digest(owner) == before
    assert ask(owner, RIGHTS) == rights


RIGHTS = "SELECT c.oid::regclass::text AS name, relacl::text FROM pg_class AS c WHERE relacl IS NOT NULL ORDER BY 1"


def test_the_owner_itself_is_not_narrowed(owner: str) -> None:
    """Its own grants taken away, an owner could not read its own tables any more."""
    done = command("a", owner, "schema", "--role", "postgres", "--apply")
    assert done.code in (0, 2, 5), ended(done)
    assert command("a", owner, "run", today=BEFORE).code == 3
    assert refused(owner, "SELECT api_key FROM hopsworks_clusters") is None
