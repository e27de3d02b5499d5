"""usage_daily may be partitioned by month, an updatable view, or hold binary numbers: the results are the same."""

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from commands import usage_jobs
from ways import job_url, owner_url

from jobs.demo import sample
from jobs.domain.check_tokens import Shrink
from jobs.postgres.conninfo import Address
from jobs.postgres.schema_script import apply_schema
from jobs.settings import load

DAY = date(2026, 6, 20)
TODAY = date(2026, 6, 21)
PARTITIONED = """
ALTER TABLE usage_daily RENAME TO usage_plain;
CREATE TABLE usage_daily (LIKE usage_plain INCLUDING DEFAULTS, PRIMARY KEY (id, date)) PARTITION BY RANGE (date);
CREATE TABLE usage_05 PARTITION OF usage_daily FOR VALUES FROM ('2026-05-01') TO ('2026-06-01');
CREATE TABLE usage_06 PARTITION OF usage_daily FOR VALUES FROM ('2026-06-01') TO ('2026-07-01');
CREATE TABLE usage_other PARTITION OF usage_daily DEFAULT;
CREATE INDEX ON usage_daily (user_id, date);
INSERT INTO usage_daily SELECT * FROM usage_plain WHERE date IS NOT NULL;
DROP TABLE usage_plain
"""
VIEW = """
ALTER TABLE usage_daily RENAME TO usage_plain;
CREATE VIEW usage_daily AS SELECT * FROM usage_plain WHERE date IS NOT NULL
"""
BINARY = """
DELETE FROM usage_daily WHERE date IS NULL;
ALTER TABLE usage_daily ALTER cpu_hours TYPE double precision, ALTER gpu_hours TYPE real
"""
PLAIN = "DELETE FROM usage_daily WHERE date IS NULL"
TABLES = {
    "user_daily": "date, user_id, cluster_id",
    "user_monthly": "month, user_id",
    "cluster_daily": "date, cluster_id",
    "cluster_monthly": "month, cluster_id",
}


@pytest.fixture
def filled(make_database: Callable[..., str]) -> Callable[[str], str]:
    """filled(SQL): a database with the sample's usage, changed by the SQL, and with the job's own tables."""

    def fill(change: str) -> str:
        url = make_database()
        with psycopg.connect(url, autocommit=True) as link:
            sample.load(link, users=8, days=40, last_day=DAY)
            link.execute(change.encode())
        apply_schema(load(None, {}, sample_folder()), Address(owner_url(url)))
        return url

    return fill


def sample_folder() -> Any:
    from conftest import NOWHERE

    return NOWHERE


def run(url: str, *options: str) -> dict[str, Any]:
    def settings() -> Any:
        return load(None, {}, sample_folder())

    ran = usage_jobs("run", "--json", *options, url=job_url(url, settings), today=TODAY)
    assert ran.code in (0, 3), ran.err
    report: dict[str, Any] = json.loads(ran.out)
    return report


def rolled_up(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """The roll-ups, but for hashes, run ids and times."""
    found = {}
    with psycopg.connect(url) as link:
        for table, key in TABLES.items():
            names = [
                row[0]
                for row in link.execute(
                    "SELECT column_name FROM information_schema.columns"
                    " WHERE table_schema = 'rollup' AND table_name = %s"
                    " AND column_name NOT IN ('run_id', 'updated_at') AND column_name NOT LIKE '%%hash' ORDER BY 1",
                    [table],
                )
            ]
            text = f"SELECT {', '.join(names)} FROM rollup.{table} ORDER BY {key}"
            found[table] = link.execute(text.encode()).fetchall()
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("change", [PARTITIONED, VIEW, BINARY], ids=["partitioned", "a view", "binary numbers"])
def test_the_results_are_those_of_a_plain_table(filled: Callable[[str], str], change: str) -> None:
    plain, other = filled(PLAIN), filled(change)
    run(plain)
    first, again = run(other), run(other)
    assert first["users_recomputed"] > 0
    assert (again["rows_changed"], again["users_recomputed"], again["rows_read"]) == (0, 0, 0)
    assert rolled_up(other) == rolled_up(plain)


def test_a_binary_number_counts_as_its_shortest_decimal(filled: Callable[[str], str]) -> None:
    url = filled(BINARY)
    with psycopg.connect(url, autocommit=True) as link:
        link.execute("DELETE FROM usage_daily")
        link.execute(
            "INSERT INTO usage_daily (id, user_id, date, cpu_hours, gpu_hours)"
            " VALUES (gen_random_uuid(), 'auth0|demo-00001', '2026-06-02', 0.1, 0.3)"
        )
    run(url, "--allow-shrink", Shrink(DAY.replace(day=1), 1, 1).token)
    with psycopg.connect(url) as link:
        row = link.execute("SELECT cpu_hours, gpu_hours FROM rollup.user_daily").fetchone()
    assert row == (Decimal("0.1"), Decimal("0.3"))
