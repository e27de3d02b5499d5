"""A database behind the REST API, two of whose users have a month in the roll-ups; and what somebody may do there."""

from typing import Any

import psycopg
from commands import CLUSTER, add_usage, applied, insert, usage_jobs
from conftest import SHAPES
from drift_world import do
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
