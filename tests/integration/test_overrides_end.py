"""Price overrides that say by `active` alone when they end: each holds to the last covered day that saw it active."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from commands import TODAY, applied, ask, costs, insert, usage_jobs
from prepaid import night, row

from jobs.pipeline import batches, run

START: dict[str, Any] = {"USAGE_JOBS_START": "2026-05"}
NOTE = "price overrides of ada were added, edited or deleted after covered days were priced"


def override(url: str, number: int, user: str, **columns: object) -> None:
    since = {"created_at": date(2026, 5, 1), "resource_type": "cpu_hours", "override_price": Decimal("0.05")}
    insert(url, "user_pricing_overrides", id=UUID(int=number), user_id=user, **since | columns)


def total(url: str, today: date = TODAY) -> tuple[Decimal, bool]:
    """What ada costs after a run, whose dry run says the same; and whether the run says that overrides moved."""
    promised = usage_jobs("run", "--dry-run", "--json", url=url, today=today, **START).object
    done = night(url, today=today, **START)
    assert (done["total_cost"], done["changed"]) == (promised["total_cost"], promised["changed"])
    assert night(url, today=today, **START)["rows_changed"] == 0
    return costs(url)["ada"], any(NOTE in note for note in done["notes"])


def test_an_override_holds_to_the_last_day_on_which_it_was_seen(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(database, "ALTER TABLE user_pricing_overrides DROP valid_from, ADD active boolean DEFAULT true")
    applied(database)
    override(database, 1, "ada")
    override(database, 2, "bob", active=False)
    row(database, 1, "8", date(2026, 5, 10))
    for number, day in enumerate((19, 20, 21, 22), start=2):
        row(database, number, "2", date(2026, 6, day))
    row(database, 9, "2", user_id="bob")
    assert total(database) == (Decimal(4 + 1 + 1), False)
    assert costs(database)["bob"] == 2, "never seen active: never in force"

    # A run that covers the 21st sees it active, and dies before it has written anything.
    with monkeypatch.context() as patch:
        patch.setattr(batches, "run_batches", None)
        assert usage_jobs("run", url=database, today=TODAY + timedelta(days=1), **START).code == 1
    ask(database, "UPDATE user_pricing_overrides SET active = NOT active")
    assert total(database, TODAY + timedelta(days=2)) == (Decimal(4 + 1 + 1 + 1 + 2), False)
    assert costs(database)["bob"] == 1
    for words in (("watch", "--all"), ("reconcile", "--from", "2026-05-01")):
        assert usage_jobs(*words, url=database, today=TODAY + timedelta(days=2), **START).code == 0
    seen = ask(database, "SELECT override_id, last_active_day FROM rollup.overrides_seen ORDER BY 1")
    assert [(UUID(row["override_id"]).int, row["last_active_day"].day) for row in seen] == [(1, 21), (2, 22)]

    # Edited and deleted ones price the open month anew, and the closed one stays.
    ask(database, "UPDATE user_pricing_overrides SET override_price = 0.01 WHERE user_id = 'ada'")
    assert total(database, TODAY + timedelta(days=2)) == (Decimal(4) + Decimal("0.6") + 2, True)
    ask(database, "DELETE FROM user_pricing_overrides WHERE user_id = 'ada'")
    assert total(database, TODAY + timedelta(days=2)) == (Decimal(4 + 8), True)


def test_an_override_that_a_backfill_sees_first_holds_on_all_covered_days(database: str) -> None:
    """Although the backfill covers an earlier month alone."""
    ask(database, "ALTER TABLE user_pricing_overrides DROP valid_from, ADD active boolean DEFAULT true")
    applied(database)
    row(database, 1, "8", date(2026, 4, 10))
    row(database, 2, "2", date(2026, 6, 20))
    night(database, **START)
    override(database, 1, "ada", created_at=date(2026, 4, 1))
    words = ("backfill", "--from", "2026-04-01", "--to", "2026-04-30", "--reason", "agreed", "--yes")
    assert usage_jobs(*words, url=database, today=TODAY, **START).code == 0
    assert ask(database, "SELECT last_active_day FROM rollup.overrides_seen") == [
        {"last_active_day": date(2026, 6, 20)}
    ]


def test_prices_of_a_run_that_did_not_finish_are_no_change(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It priced ada with an override of its own last day, which no finished run has covered."""
    applied(database)
    row(database, 1, "2", date(2026, 6, 20))
    night(database, **START)
    insert(
        database,
        "user_pricing_overrides",
        id=UUID(int=1),
        user_id="ada",
        resource_type="cpu_hours",
        override_price=Decimal("0.05"),
        valid_from=date(2026, 6, 21),
    )
    row(database, 2, "2", date(2026, 6, 21))
    tomorrow = TODAY + timedelta(days=1)
    with monkeypatch.context() as patch:
        patch.setattr(run, "finalize", None)
        assert usage_jobs("run", url=database, today=tomorrow, **START).code == 1
    assert costs(database)["ada"] == 3
    assert total(database, tomorrow) == (Decimal(3), False)
