"""Days that PostgreSQL has and no calendar: they concern their own row, or their own override, and nothing else."""

from decimal import Decimal

import psycopg
import pytest
from commands import add_usage, ask, costs, usage_jobs
from prepaid import prepaid

COMMANDS = (
    *(("check",), ("run", "--dry-run"), ("run",), ("run", "--full"), ("reconcile",), ("watch",)),
    ("explain", "--user", "ada", "--month", "2026-06"),
    ("runs",),
)
DAYS = ("5874897-12-31", "10000-01-01", "9999-12-31", "0001-01-01", "0001-12-31 BC", "4713-01-01 BC")
OVERRIDES = {
    "valid_from": {"-infinity": True, "4713-01-02 BC": True, "0001-01-01": True, "9999-12-31": False, "LAST": False},
    "valid_until": {"4713-01-02 BC": False, "0001-01-01": False, "9999-12-31": True, "LAST": True, "infinity": True},
}
"""By column and value whether an override with it holds today."""
LAST = {"date": "5874897-12-31", "timestamp": "294276-12-31 23:59", "timestamptz": "9999-12-31 23:00-05"}


def works(url: str) -> None:
    for words in COMMANDS:
        ran = usage_jobs(*words, url=url)
        assert ran.code == 0, (words, ran.out, ran.err)


@pytest.mark.thorough
@pytest.mark.parametrize("deducted", [None, 1])
def test_rows(ready: str, deducted: int | None) -> None:
    """Where another program has drawn on them, too."""
    prepaid(ready, "ada", purchased="100")
    add_usage(ready)
    with psycopg.connect(ready) as connection:
        text = (
            "INSERT INTO usage_daily (id, user_id, date, cpu_hours, credits_deducted)"
            " SELECT gen_random_uuid(), 'ada', day::date, 1, %s::numeric FROM unnest(%s::text[]) AS day"
        )
        connection.execute(text, [deducted, list(DAYS)])
    works(ready)
    assert costs(ready) == {"ada": Decimal("0.1")}
    [draws] = ask(ready, "SELECT count(*) AS rows FROM rollup.credit_draws WHERE revision = 0")
    assert draws["rows"] == (2 if deducted else 0), "adopted are the days that a calendar has"


@pytest.mark.thorough
@pytest.mark.parametrize("kind", LAST)
def test_overrides(ready: str, kind: str) -> None:
    """A user for each; where it holds he pays ten times as much."""
    expected = {"ada": Decimal("0.1")}
    text = (
        f"INSERT INTO user_pricing_overrides (id, user_id, resource_type, override_price, created_at, {{}})"
        f" VALUES (gen_random_uuid(), %s, 'cpu_hours', 1, '2026-01-01', %s::text::{kind})"
    )
    with psycopg.connect(ready) as connection:
        for column, values in OVERRIDES.items():
            retyped = f"ALTER COLUMN {column} DROP DEFAULT, ALTER COLUMN {column} TYPE {kind}"
            connection.execute(f"ALTER TABLE user_pricing_overrides {retyped}".encode())
            for value, holds in values.items():
                user = f"{column} {value}"
                expected[user] = Decimal(1 if holds else "0.1")
                connection.execute(text.format(column).encode(), [user, value.replace("LAST", LAST[kind])])
    for user in expected:
        add_usage(ready, user_id=user)
    works(ready)
    assert costs(ready) == expected
