"""The fingerprint of a user's month does not cancel: changes made to many users at once are noticed in every one.

FINGERPRINT_USERS users are divided into groups; in each group every user gets the same kind of change, chosen so that
the hashes of two or more rows could cancel: values exchanged between rows, the same change in an even number of rows
that are alike but for their id, null beside 0, NaN beside null and Infinity, a sign that moves: PostgreSQL's hash of
a numeric leaves out the sign, and is one for NaN and both infinities. One group is left alone, and must be.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import psycopg
import pytest
from commands import configured
from conftest import Databases
from counts import count
from fresh_start import outcome
from job_runs import Runner, differences

USERS = count("FINGERPRINT_USERS")
DAY = date(2026, 6, 20)
FIRST = "UPDATE usage_daily SET {change} WHERE grp = {group} AND k = 1"
EVERY = "UPDATE usage_daily SET {change} WHERE grp = {group}"
EXCHANGE = """
UPDATE usage_daily AS u SET {column} = o.{column} FROM usage_daily AS o
WHERE u.grp = {group} AND o.grp = {group} AND o.user_id = u.user_id AND u.k IN (1, 2) AND o.k = 3 - u.k
"""
EXCHANGE_USERS = """
UPDATE usage_daily SET user_id = (CASE n % 2 WHEN 0 THEN n + 1 ELSE n - 1 END)::text
WHERE grp = {group} AND k = 1
"""
REPLACE = """
INSERT INTO usage_daily (id, user_id, date, hopsworks_cluster_id, cpu_hours, gpu_hours, total_cost, grp, n, k)
SELECT gen_random_uuid(), user_id, date, hopsworks_cluster_id, cpu_hours, gpu_hours, total_cost, grp, n, 0
FROM usage_daily WHERE grp = {group} AND k = 1;
DELETE FROM usage_daily WHERE grp = {group} AND k = 1
"""


@dataclass(frozen=True)
class Group:
    """``rows``: how many each user has; ``alike``: on one day and cluster, with the same quantities; ``first``: the
    first row's cpu_hours before the change; ``sql``: the change."""

    name: str
    sql: str
    rows: int = 3
    alike: bool = False
    first: str = "2.5"


GROUPS = (
    Group("left alone", ""),
    Group("null becomes 0", FIRST.replace("{change}", "cpu_hours = 0"), first="NULL"),
    Group("0 becomes null", FIRST.replace("{change}", "cpu_hours = NULL"), first="0"),
    Group("null becomes NaN", FIRST.replace("{change}", "cpu_hours = 'NaN'"), first="NULL"),
    Group("NaN becomes null", FIRST.replace("{change}", "cpu_hours = NULL"), first="'NaN'"),
    Group("NaN becomes 0", FIRST.replace("{change}", "cpu_hours = 0"), first="'NaN'"),
    Group("NaN becomes Infinity", FIRST.replace("{change}", "cpu_hours = 'Infinity'"), first="'NaN'"),
    Group("1 becomes -1", FIRST.replace("{change}", "cpu_hours = -cpu_hours")),
    Group("-1 becomes 1", FIRST.replace("{change}", "cpu_hours = -cpu_hours"), first="-1"),
    Group("the sign moves to another column", FIRST.replace("{change}", "cpu_hours = 1, gpu_hours = -1.5"), first="-1"),
    Group("null cost becomes 0", EVERY.replace("{change}", "total_cost = 0"), rows=4, alike=True),
    Group("two rows exchange a quantity", EXCHANGE.replace("{column}", "cpu_hours")),
    Group("two rows exchange a day", EXCHANGE.replace("{column}", "date")),
    Group("two rows exchange a cluster", EXCHANGE.replace("{column}", "hopsworks_cluster_id")),
    Group("two columns of a row exchanged", FIRST.replace("{change}", "cpu_hours = gpu_hours, gpu_hours = cpu_hours")),
    Group("two users exchange a row", EXCHANGE_USERS),
    Group("a row replaced by one that is equal but for its id", REPLACE),
    Group("1 more in 2 rows", EVERY.replace("{change}", "cpu_hours = cpu_hours + 1"), rows=2, alike=True),
    Group("1 more in 4 rows", EVERY.replace("{change}", "cpu_hours = cpu_hours + 1"), rows=4, alike=True),
    Group("1 more in 10 rows", EVERY.replace("{change}", "cpu_hours = cpu_hours + 1"), rows=10, alike=True),
    Group("1 more in 30 rows", EVERY.replace("{change}", "cpu_hours = cpu_hours + 1"), rows=30, alike=True),
    Group("null in 4 rows", EVERY.replace("{change}", "cpu_hours = NULL"), rows=4, alike=True),
    Group("a day later in 4 rows", EVERY.replace("{change}", "date = date + 1"), rows=4, alike=True),
    Group("no cluster in 4 rows", EVERY.replace("{change}", "hopsworks_cluster_id = NULL"), rows=4, alike=True),
    Group("2 of 3 rows deleted", "DELETE FROM usage_daily WHERE grp = {group} AND k < 3", alike=True),
)
FILL = """
INSERT INTO usage_daily (id, user_id, date, hopsworks_cluster_id, cpu_hours, gpu_hours, grp, n, k)
SELECT ('00000000-0000-0000-0000-' || lpad(to_hex(n::bigint * 64 + k), 12, '0'))::uuid, n::text,
  CASE WHEN g.alike THEN date '2026-06-10' ELSE date '2026-06-10' + k END,
  lpad((CASE WHEN g.alike THEN 1 ELSE k END)::text, 32, '0')::uuid,
  CASE WHEN g.alike THEN 2.5 WHEN k = 1 THEN g.first ELSE k + 0.25 END, 1.5, g.grp, n, k
FROM (VALUES {groups}) AS g (grp, rows, alike, first)
CROSS JOIN generate_series(0, %(users)s - 1) AS n
CROSS JOIN generate_series(1, g.rows) AS k
WHERE n / %(size)s = g.grp
"""
CHANGED = """
SELECT (user_id::int / %(size)s), count(*) FROM rollup.user_monthly
WHERE run_id = (SELECT max(run_id) FROM rollup.user_monthly) AND user_id ~ '^[0-9]+$' GROUP BY 1
"""
REJECTED = "(cpu_hours >= 'Infinity' OR cpu_hours < 0 OR gpu_hours < 0)"
SUMS = {
    "users": f"""
        SELECT coalesce(u.user_id, m.user_id) FROM (
          SELECT user_id, count(*) FILTER (WHERE NOT coalesce({REJECTED}, false)) AS rows,
            coalesce(sum(cpu_hours) FILTER (WHERE NOT {REJECTED}), 0) AS cpu_hours,
            coalesce(sum(gpu_hours) FILTER (WHERE NOT coalesce({REJECTED}, false)), 0) AS gpu_hours,
            count(DISTINCT date) FILTER (WHERE NOT coalesce({REJECTED}, false)) AS days
          FROM usage_daily GROUP BY 1) AS u
        FULL JOIN rollup.user_monthly AS m ON m.user_id = u.user_id AND m.month = '2026-06-01'
        WHERE (u.cpu_hours, u.gpu_hours, u.days, 0.10 * u.cpu_hours + 0.50 * u.gpu_hours)
          IS DISTINCT FROM (m.cpu_hours, m.gpu_hours, m.days, m.total_cost)""",
    "clusters": f"""
        SELECT concat_ws(' ', coalesce(u.date, c.date), coalesce(u.cluster_id, c.cluster_id)) FROM (
          SELECT date, hopsworks_cluster_id AS cluster_id, sum(coalesce(cpu_hours, 0)) AS cpu_hours,
            sum(gpu_hours) AS gpu_hours, count(DISTINCT user_id) AS users
          FROM usage_daily WHERE NOT coalesce({REJECTED}, false) GROUP BY 1, 2) AS u
        FULL JOIN rollup.cluster_daily AS c ON c.date = u.date
          AND coalesce(c.cluster_id::text, '') = coalesce(u.cluster_id::text, '')
        WHERE (u.cpu_hours, u.gpu_hours, u.users) IS DISTINCT FROM (c.cpu_hours, c.gpu_hours, c.users)""",
    "user days": f"""
        SELECT concat_ws(' ', coalesce(u.user_id, d.user_id), coalesce(u.date, d.date)) FROM (
          SELECT user_id, date, hopsworks_cluster_id AS cluster_id, sum(coalesce(cpu_hours, 0)) AS cpu_hours,
            sum(gpu_hours) AS gpu_hours
          FROM usage_daily WHERE NOT coalesce({REJECTED}, false) GROUP BY 1, 2, 3) AS u
        FULL JOIN rollup.user_daily AS d ON d.user_id = u.user_id AND d.date = u.date
          AND coalesce(d.cluster_id::text, '') = coalesce(u.cluster_id::text, '')
        WHERE (u.cpu_hours, u.gpu_hours) IS DISTINCT FROM (d.cpu_hours, d.gpu_hours)""",
}
"""Whose figures are not those of a GROUP BY of usage_daily."""
TYPES = (
    ("cpu_hours", "double precision"),
    ("cpu_hours", "real"),
    ("cpu_hours", "numeric(12,4)"),
    ("feature_store_api_calls", "bigint"),
    ("feature_store_api_calls", "numeric"),
    ("user_id", "varchar(80)"),
)


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    """A database whose rows know their group, the number n of their user, and their own number k."""
    found = databases.create("a")
    with psycopg.connect(found) as link:
        link.execute("ALTER TABLE usage_daily ADD COLUMN grp int, ADD COLUMN n int, ADD COLUMN k int")
    yield found
    databases.retire([found])


@pytest.fixture
def job(tmp_path: Path) -> Runner:
    configured(tmp_path)
    return Runner(tmp_path / "config" / "settings.toml")


def fill(url: str, size: int) -> None:
    """So many users a group."""
    groups = ", ".join(
        f"({number}, {group.rows}, {group.alike}, {group.first}::numeric)" for number, group in enumerate(GROUPS)
    )
    with psycopg.connect(url) as link:
        link.execute(FILL.format(groups=groups).encode(), {"users": size * len(GROUPS), "size": size})
        link.execute("ANALYZE usage_daily")


def wrong(url: str) -> dict[str, int]:
    """How many users, cluster days and user days are not what SQL adds up."""
    with psycopg.connect(url) as link:
        found = {name: len(link.execute(query.encode()).fetchall()) for name, query in SUMS.items()}
    return {name: number for name, number in found.items() if number}


UNSEEN = "NaN becomes Infinity"
"""Both are rejected: nobody need be computed again. The reject is described as the row is now (``wrong`` looks)."""


@pytest.mark.database
def test_no_change_is_missed(url: str, job: Runner) -> None:
    size = USERS // len(GROUPS) // 2 * 2
    fill(url, size)
    job.apply_schema(url)
    job.run(url, DAY)
    assert not wrong(url)
    with psycopg.connect(url) as link:
        for number, group in enumerate(GROUPS):
            for statement in filter(str.strip, group.sql.format(group=number).split(";")):
                link.execute(statement.encode())
    report = job.run(url, DAY)
    with psycopg.connect(url) as link:
        noticed: Counter[int] = Counter(dict(link.execute(CHANGED.encode(), {"size": size}).fetchall()))
    expected = {group.name: size if group.sql and group.name != UNSEEN else 0 for group in GROUPS}
    assert {group.name: noticed[number] for number, group in enumerate(GROUPS)} == expected
    assert report.users_recomputed == sum(expected.values())
    assert not wrong(url)
    again = job.run(url, DAY)
    assert (again.rows_changed, again.users_recomputed, again.rows_read) == (0, 0, 0)


@pytest.mark.thorough
@pytest.mark.database
@pytest.mark.parametrize(("column", "type_"), TYPES, ids=[f"{column} {type_}" for column, type_ in TYPES])
def test_a_column_of_another_type_gives_no_wrong_result(url: str, job: Runner, column: str, type_: str) -> None:
    """With the same values; and what changes afterwards is noticed."""
    fill(url, 2)
    job.apply_schema(url)
    job.run(url, DAY)
    before = outcome(url, DAY.replace(day=1), DAY)
    with psycopg.connect(url) as link:
        link.execute(f"ALTER TABLE usage_daily ALTER COLUMN {column} TYPE {type_}".encode())
    job.run(url, DAY)
    after = outcome(url, DAY.replace(day=1), DAY)
    shown = {"user_monthly", "months", "rejects"}
    assert {name for name, rows in differences(before, after).items() if rows} <= shown, "hashes, and rows as text"
    assert not wrong(url)
    with psycopg.connect(url) as link:
        link.execute("UPDATE usage_daily SET cpu_hours = 3 WHERE k = 2")
    job.run(url, DAY)
    assert not wrong(url)
    again = job.run(url, DAY)
    assert (again.rows_changed, again.users_recomputed, again.rows_read) == (0, 0, 0)


@pytest.mark.database
def test_a_type_that_rounds_changes_results(url: str, job: Runner) -> None:
    """The values change with the type, in every row at once, and no row's trigger or time says so."""
    fill(url, 2)
    job.apply_schema(url)
    job.run(url, DAY)
    with psycopg.connect(url) as link:
        link.execute("ALTER TABLE usage_daily ALTER COLUMN cpu_hours TYPE numeric(10,1)")
        link.execute("ALTER TABLE usage_daily ALTER COLUMN gpu_hours TYPE integer USING gpu_hours::integer")
    job.run(url, DAY)
    assert not wrong(url)
