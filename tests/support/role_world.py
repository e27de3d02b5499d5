"""A database with a past and a role that `schema --role` has made for it: what the job does as that role, and what not.

Roles belong to the whole server, so that each has a name of its own, and goes with the databases that know it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from urllib.parse import quote, urlsplit
from uuid import UUID

import psycopg
from commands import Ran, ask, configured
from conftest import SHAPES
from drift_world import BEFORE, CARDS, TODAY, Copies, command, copies, do, meters, past, since, usage
from psycopg import sql

EVERY_RIGHT = ("SELECT", "INSERT", "UPDATE", "DELETE")
RIGHTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("user_daily", "user_monthly", "cluster_daily", "cluster_monthly"), EVERY_RIGHT),
    **dict.fromkeys(("rejects", "debts"), EVERY_RIGHT),
    "set_aside": EVERY_RIGHT,
    "touched_days": ("SELECT", "INSERT", "DELETE"),
    **dict.fromkeys(("months", "runs", "overrides_seen"), ("SELECT", "INSERT", "UPDATE")),
    **dict.fromkeys(("credit_draws", "billing_modes", "corrections"), ("SELECT", "INSERT")),
}
"""What the role may do with the job's own tables: an oracle, not read from anywhere."""
PASSWORD = "s3cret"  # noqa: S105 - of roles that live as long as a test
ADOPTED = f"""
UPDATE usage_daily SET credits_deducted = 0.5 WHERE id = '{UUID(int=2)}';
UPDATE user_credits SET total_used = 0.3, free_credits_used = 0.2 WHERE user_id = 'ada';
"""
"""What another program has drawn before: the first run imports it."""
OTHERS = """
CREATE TABLE subscriptions (id integer, card text); INSERT INTO subscriptions VALUES (1, '4242');
GRANT ALL ON subscriptions TO anon, authenticated, service_role;
UPDATE hopsworks_clusters SET api_key = 'key', kubeconfig = 'config';
"""


VANISHES = UUID(int=61)
"""The only row of its cluster and day."""


def changed(shape: str) -> str:
    """What makes the second run do everything that a run can do: new rows, a reject that heals, and usage that goes, of
    a user in the month, and of a cluster."""
    cpu = meters(shape)[0]
    gone = f"DELETE FROM usage_daily WHERE user_id = 'cy' AND date >= '2026-06-01' OR id = '{VANISHES}';"
    return "\n".join(since(shape)) + f"\n{gone} UPDATE usage_daily SET {cpu} = 1 WHERE id = '{UUID(int=90)}';"


@dataclass
class Roles:
    """Databases in which a role of the job's own may work, and that role."""

    copies: Copies
    directory: Path
    made: list[str] = field(default_factory=list)

    def name(self, key: str) -> str:
        """The name of the role of all copies that are made of ``key``."""
        return f"usage_jobs_role_{urlsplit(self.copies.server).port}_{id(self):x}_{key}"

    def copy(self, shape: str, cost: str = "recorded") -> str:
        """The URL of a new database for its owner, where the role has not worked yet."""
        role = self.name(f"{shape}_{cost}")

        def make(url: str) -> None:
            text = SHAPES[shape].read_text(encoding="utf-8") + "\n;" + "\n".join(past(shape)) + OTHERS
            text += usage(shape, VANISHES.int, "eve", date(2026, 6, 17), 1)
            do(url, text + (ADOPTED if shape != "c" else ""))
            for words in (("schema", "--apply"), ("schema", "--role", role, "--apply")):
                ran = command(shape, url, *words, USAGE_JOBS_COST=cost)
                assert ran.code == 0, ran.err
            do(url, f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
            self.made.append(role)

        configured(self.directory, rates=CARDS)
        return self.copies.of((shape, cost), make)

    def role(self, shape: str = "a", cost: str = "recorded") -> str:
        return self.name(f"{shape}_{cost}")


@contextmanager
def roles(server: str, directory: Path) -> Iterator[Roles]:
    with copies(server) as some:
        made = Roles(some, directory)
        yield made
    for role in made.made:
        do(server, f"DROP ROLE {role}")


def as_role(url: str, role: str) -> str:
    """The URL of that database for a role."""
    place = urlsplit(url).netloc.rpartition("@")[2]
    return urlsplit(url)._replace(netloc=f"{quote(role, safe='')}:{PASSWORD}@{place}").geturl()


def refused(url: str, statement: str) -> str | None:
    """Why a statement may not be done at that URL; None where it may. It is undone."""
    with psycopg.connect(url) as connection:
        try:
            connection.execute(statement.encode())
        except psycopg.Error as error:
            return f"{error.sqlstate} {error}".splitlines()[0]
        finally:
            connection.rollback()
    return None


def night(shape: str, url: str, owner: str, cost: str) -> list[Ran]:
    """A run, everything that can happen, another run, and a backfill."""
    first = command(shape, url, "run", today=BEFORE, USAGE_JOBS_COST=cost)
    do(owner, changed(shape))
    past = ("backfill", "--from", "2026-06-01", "--to", "2026-06-02", "--yes", "--reason", "late")
    return [first, *(command(shape, url, *words, USAGE_JOBS_COST=cost) for words in (("run",), past))]


def looks(shape: str, url: str, cost: str, *, before: bool) -> list[Ran]:
    """Every command that only looks, of those that have something to look at before a night, or after it."""
    explain = ("explain", "--user", "ada", "--month", "2026-06")
    every = (("check", "--json"), ("run", "--dry-run")) if before else (("watch",), ("reconcile",), explain, ("runs",))
    today = BEFORE if before else TODAY
    return [command(shape, url, *words, today=today, USAGE_JOBS_COST=cost) for words in every]


@dataclass(frozen=True)
class Grant:
    """One privilege of a role: on a column of a table, or on all of it."""

    table: str
    column: str | None
    right: str

    def __str__(self) -> str:
        return f"{self.right} {self.table}" + (f".{self.column}" if self.column else "")

    def statement(self, verb: str, role: str) -> str:
        """GRANT or REVOKE of it."""
        column = f' ("{self.column}")' if self.column else ""
        return f"{verb} {self.right}{column} ON {self.table} {'TO' if verb == 'GRANT' else 'FROM'} {role};"


GRANTED = """
SELECT c.oid::regclass::text AS table, NULL::text AS column, a.privilege_type AS right
FROM pg_class c, aclexplode(c.relacl) a WHERE a.grantee = %s::regrole AND c.relkind IN ('r', 'v')
UNION ALL
SELECT c.oid::regclass::text, t.attname::text, a.privilege_type
FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a WHERE a.grantee = %s::regrole
ORDER BY 1, 2, 3
"""


def grants(url: str, role: str) -> list[Grant]:
    """What the role was granted on tables, one by one."""
    return [Grant(row["table"], row["column"], row["right"]) for row in ask(url, GRANTED, role, role)]


def every_grant() -> list[Grant]:
    """What `schema --role` grants in shape A: an oracle, not read from anywhere."""
    reads = {
        "usage_daily": "id user_id date hopsworks_cluster_id total_cost cpu_hours gpu_hours storage_gb"
        " feature_store_api_calls model_inference_calls credits_deducted",
        "hopsworks_clusters": "id name",
        "users": "id billing_mode",
        "user_credits": "user_id total_purchased total_used free_credits_granted free_credits_used",
        "credit_transactions": "id user_id type amount balance_before balance_after created_at metadata",
        "user_pricing_overrides": "id user_id resource_type override_price discount_percentage valid_from valid_until"
        " created_at",
    }
    posted = "user_id type amount balance_before balance_after description created_at metadata"
    found = [Grant(table, column, "SELECT") for table, names in reads.items() for column in names.split()]
    found += [Grant("credit_transactions", column, "INSERT") for column in posted.split()]
    found += [Grant("user_credits", column, "UPDATE") for column in ("total_used", "free_credits_used")]
    found += [Grant("usage_daily", "credits_deducted", "UPDATE")]
    return found + [Grant(f"rollup.{table}", None, right) for table, rights in RIGHTS.items() for right in rights]


def quoted(role: str) -> str:
    """A role's name as SQL."""
    return sql.Identifier(role).as_string(None)
