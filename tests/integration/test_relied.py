"""What open months were billed by must not vanish in silence: renamed, it would look like a database without it."""

from collections.abc import Callable

import pytest
from commands import DAY, Ran, add_usage, applied, ask, contents, costs, usage_jobs

BUT = ["rollup.runs"]


def billed(url: str) -> str:
    assert usage_jobs("run", url=url).code == 0
    return url


def refused(url: str, subject: str) -> Ran:
    """A run that is refused, as is the check, and that leaves everything as it was."""
    before = contents(url, but=BUT)
    found = usage_jobs("check", "--json", url=url)
    assert found.code == 5
    assert subject in [f["subject"] for f in found.object["findings"] if f["level"] in ("refused", "unwritable")]
    ran = usage_jobs("run", url=url)
    assert ran.code == 5
    assert subject in ran.err
    assert contents(url, but=BUT) == before
    return ran


def override(url: str) -> None:
    ask(
        url,
        "INSERT INTO user_pricing_overrides (id, user_id, resource_type, override_price, valid_from) VALUES"
        " (gen_random_uuid(), 'ada', 'cpu_hours', 7, '2026-01-01')",
    )


@pytest.mark.thorough
def test_overrides_that_were_charged(database: str) -> None:
    add_usage(applied(database))
    override(database)
    before = costs(billed(database))
    ask(database, "ALTER TABLE user_pricing_overrides RENAME TO overrides_2025")
    ran = refused(database, "user_pricing_overrides")
    assert "list prices" in ran.err
    assert "empty table of this name" in ran.err
    assert costs(database) == before
    ask(database, "CREATE TABLE user_pricing_overrides (LIKE overrides_2025)")
    assert costs(billed(database)) != before, "an empty table says that it is meant"


def test_overrides_that_nobody_was_charged_may_go(database: str) -> None:
    add_usage(applied(database))
    before = costs(billed(database))
    ask(database, "DROP TABLE user_pricing_overrides")
    assert costs(billed(database)) == before


def test_rows_that_were_reported(make_database: Callable[..., str]) -> None:
    url = make_database("b", ready=True)
    add_usage(url, reported_to_stripe=True)
    reported = "SELECT amount_due, amount_reported FROM rollup.user_monthly"
    before = ask(billed(url), reported)
    assert before[0]["amount_reported"] > 0
    ask(url, "ALTER TABLE usage_daily RENAME COLUMN reported_to_stripe TO reported")
    refused(url, "usage_daily.reported_to_stripe")
    assert ask(url, reported) == before
    ask(url, "ALTER TABLE usage_daily RENAME COLUMN reported TO reported_to_stripe")
    assert ask(billed(url), reported) == before


@pytest.mark.parametrize("mode", ["rated", "recorded"])
def test_a_rated_month_stays_rated_and_needs_its_privilege(database: str, mode: str) -> None:
    add_usage(applied(database), date=DAY)
    assert usage_jobs("run", url=database, USAGE_JOBS_COST=mode).code == 0
    granted = usage_jobs("schema", "--role", "usage_jobs_rated", url=database).out
    [usage] = [line for line in granted.splitlines() if line.startswith("GRANT") and '"public"."usage_daily"' in line]
    assert ("UPDATE (" in usage and '"total_cost"' in usage.partition("UPDATE (")[2]) == (mode == "rated")
