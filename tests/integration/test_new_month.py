"""The first run that covers a month: whatever becomes of it, the next one does the rest, and no more than that."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from commands import add_row, ask, configured, usage_jobs

from jobs.pipeline import run

DAY, TODAY = date(2026, 6, 3), date(2026, 6, 4)
USERS = ("ada", "bob", "cy")


@pytest.fixture
def url(ready: str, tmp_path: Any) -> str:
    """Three users with usage on one day; each is a batch."""
    configured(tmp_path, settings='start = "2026-06"\nworkers = 1\nbatch_rows = 1\ncost = "rated"\n')
    for user in USERS:
        add_row(ready, user_id=user, date=DAY, cpu_hours=100)
    return ready


def night(url: str, code: int = 0) -> dict[str, Any]:
    ran = usage_jobs("run", "--json", "--date", str(DAY), url=url, today=TODAY)
    assert ran.code == code, ran.err
    report: dict[str, Any] = json.loads(ran.out) if not code else {}
    return report


def clusters(url: str) -> list[tuple[int, Decimal]]:
    rows = ask(url, "SELECT users, total_cost FROM rollup.cluster_daily")
    return [(row["users"], row["total_cost"]) for row in rows]


def test_after_a_crash_only_the_rest_is_computed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: Any, **__: Any) -> Any:
        raise RuntimeError("killed")

    with monkeypatch.context() as at_the_end:
        at_the_end.setattr(run, "finalize", dies)
        night(url, code=1)
    assert clusters(url) == []
    add_row(url, user_id="dan", date=DAY, cpu_hours=100)
    assert night(url)["users_recomputed"] == 1
    assert clusters(url) == [(4, Decimal(40))]
    assert night(url)["rows_changed"] == 0


@pytest.mark.thorough
def test_a_user_who_is_locked_keeps_nobody_out_of_the_cluster_tables(url: str) -> None:
    usage_jobs("check", url=url, today=TODAY)  # a role of the job's own gets its grants, before anything is locked
    with psycopg.connect(url) as other:
        other.execute("SELECT FROM usage_daily WHERE user_id = 'bob' FOR UPDATE")
        assert night(url)["users_recomputed"] == 2
        assert clusters(url) == [(2, Decimal(20))]
    assert night(url)["users_recomputed"] == 1
    assert clusters(url) == [(3, Decimal(30))]
