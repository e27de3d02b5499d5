"""`watch` compares a closed month by the columns that it closed with, whatever the settings name by now."""

from datetime import date
from pathlib import Path
from uuid import UUID

import pytest
from commands import RATES, add_row, applied, ask, configured, usage_jobs

METERS = """
[meters.cpu_hours]
column = "cpu_hours"
[meters.gpu_hours]
column = "gpu_hours"
[meters.storage_gb]
column = "storage_gb"
kind = "level"
"""
MORE = METERS + '[meters.api]\ncolumn = "feature_store_api_calls"\noptional = true\n'
CARDS = "\n".join(line for line in RATES.splitlines() if "calls" not in line) + "\n"
ROW = UUID(int=1)


@pytest.fixture
def url(database: str, tmp_path: Path) -> str:
    """May has closed with a meter that the settings do not name any more."""
    configured(tmp_path, settings=MORE, rates=CARDS + "api,2020-01-01,0,1,1,list\n")
    for number, day in ((1, date(2026, 5, 5)), (2, date(2026, 6, 5))):
        add_row(database, id=UUID(int=number), date=day, cpu_hours=1, feature_store_api_calls=3)
    applied(database)
    assert usage_jobs("run", url=database).code == 0
    configured(tmp_path, settings=METERS, rates=CARDS)
    assert usage_jobs("run", url=database).code == 0
    return database


@pytest.mark.direct("a role may read only what the settings name")
def test_a_meter_that_left_the_settings_does_not_make_watch_blind(url: str) -> None:
    ask(url, "UPDATE usage_daily SET cpu_hours = 5000 WHERE id = %s", ROW)
    seen = usage_jobs("watch", "--json", url=url)
    [may] = seen.object["months"]
    assert (seen.code, may["changed"], may["missing"]) == (6, True, [])


def test_a_month_that_cannot_be_compared_is_said_to_be_none(url: str) -> None:
    ask(url, "ALTER TABLE usage_daily DROP feature_store_api_calls")
    seen = usage_jobs("watch", url=url)
    assert seen.code == 0
    assert "not compared: no column" in " ".join(seen.out.split())
    assert "(feature_store_api_calls). A backfill computes them without these" in " ".join(seen.out.split())
    assert "nothing has changed" not in seen.out
