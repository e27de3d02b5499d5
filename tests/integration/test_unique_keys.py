"""A key that tells no rows apart: nothing is priced or joined twice, and the message names what is there twice."""

from datetime import date
from typing import Any

import pytest
from commands import CLUSTER, add_row, ask, configured, usage_jobs

DAY, TODAY = date(2026, 6, 3), date(2026, 6, 4)
ID = "00000000-0000-0000-0000-000000000001"
START = {"USAGE_JOBS_START": "2026-06"}
TWICE = "INSERT INTO {0} SELECT * FROM {0} WHERE {1} = '{2}'"
FANNED_OUT = (
    "ALTER TABLE {0} RENAME TO {0}_kept;"
    " CREATE VIEW {0} AS SELECT k.* FROM {0}_kept AS k, generate_series(1, 2) WHERE k.{1} IS NOT NULL"
)
DOUBLED = {
    ("usage_daily", "id"): ID,
    ("users", "id"): "ada",
    ("hopsworks_clusters", "id"): str(CLUSTER),
    ("user_credits", "user_id"): "ada",
}


@pytest.fixture
def url(ready: str, tmp_path: Any) -> str:
    configured(tmp_path)
    add_row(ready, id=ID, user_id="ada", date=DAY, cpu_hours=100)
    ask(ready, "INSERT INTO user_credits (user_id, total_purchased) VALUES ('ada', 5) ON CONFLICT DO NOTHING")
    ask(ready, "INSERT INTO hopsworks_clusters (id) VALUES (%s) ON CONFLICT DO NOTHING", CLUSTER)
    return ready


def refused(url: str, table: str, column: str, *words: str) -> str:
    """What a command that must refuse says; nothing is written."""
    ran = usage_jobs(*words, url=url, today=TODAY, **START)
    said = " ".join((ran.out + ran.err).split())
    assert (ran.code, f"{table}.{column}" in said) == (5, True), said
    assert ask(url, "SELECT FROM rollup.runs") == []
    return said


@pytest.mark.parametrize(("table", "column"), DOUBLED)
def test_a_view_that_fans_out(url: str, table: str, column: str) -> None:
    """Of usage_daily `check` counts: a run would take as long for it as for reading everything."""
    ask(url, FANNED_OUT.format(table, column))
    command = "check" if table == "usage_daily" else "run"
    said = refused(url, table, column, command)
    assert DOUBLED[table, column][:8] in said


def test_a_usage_table_without_a_key(url: str) -> None:
    ask(url, "ALTER TABLE usage_daily DROP CONSTRAINT usage_daily_pkey")
    assert "ALTER TABLE usage_daily ADD PRIMARY KEY (id)" in refused(url, "usage_daily", "id", "run")
    ask(url, TWICE.format("usage_daily", "id", ID))
    assert f"twice or more: {ID}" in refused(url, "usage_daily", "id", "run")
    ask(url, "DELETE FROM usage_daily AS u USING usage_daily AS v WHERE u.id = v.id AND u.ctid > v.ctid")
    ask(url, "ALTER TABLE usage_daily ADD UNIQUE (id, date)")
    assert usage_jobs("run", url=url, today=TODAY, **START).code == 0


def test_other_tables_need_no_key_as_long_as_nothing_is_there_twice(url: str) -> None:
    ask(url, "ALTER TABLE user_credits DROP CONSTRAINT user_credits_pkey, DROP CONSTRAINT user_credits_user_id_key")
    assert usage_jobs("run", url=url, today=TODAY, **START).code == 0
    ask(url, TWICE.format("user_credits", "user_id", "ada"))
    ran = usage_jobs("run", url=url, today=TODAY, **START)
    assert (ran.code, "user_credits.user_id: expected each value once; found twice or more: ada" in ran.err) == (
        5,
        True,
    )
