"""`schema --apply` on the tables of an earlier version, and after other settings: complete, with every old row kept."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from catalogs import ROLLUPS, catalog, lost, rows, unlike
from commands import HEADER, RATES, Ran, applied, ask, configured, usage_jobs
from conftest import SHAPES
from drift_world import Copies, copies, do

pytestmark = pytest.mark.direct("compares catalogs, to which what a role is granted belongs")
FIRST = Path(__file__).parents[1] / "support" / "shapes" / "rollup_0_1.sql"
METERS = ("cpu_hours", "gpu_hours", "feature_store_api_calls", "model_inference_calls", "storage_gb")
EGRESS = "egress_gb,2020-01-01,0,0.10,1,list\n"
DAILY_AND_MONTHLY = {*ROLLUPS, "user_daily"}
JUNE = date(2026, 6, 1)
NOT_COMPUTED = ("uncovered", "amount_due", "amount_reported")


def first_version(url: str) -> None:
    do(url, SHAPES["a"].read_text(encoding="utf-8") + "\n;" + FIRST.read_text(encoding="utf-8"))


def todays(url: str) -> None:
    first_version(url)
    do(url, "DROP SCHEMA rollup CASCADE")
    applied(url)


@pytest.fixture(scope="module")
def made(server_url: str) -> Iterator[Copies]:
    with copies(server_url) as some:
        yield some


@pytest.fixture
def old(made: Copies, tmp_path: Path) -> Iterator[str]:
    """A database as the first version left it on 20 June: May closed, June open, one reject."""
    configured(tmp_path)
    url = made.of("first", first_version)
    yield url
    made.drop(url)


@pytest.fixture
def new(made: Copies, old: str) -> Iterator[str]:  # noqa: ARG001 - after old, which makes the settings
    """The same usage, and tables of today without a row."""
    url = made.of("new", todays)
    yield url
    made.drop(url)


def broken(ran: Ran) -> list[str]:
    return [f"{law['law']}: {law['culprits']}" for law in ran.object["laws"] if law["verdict"] == "broken"]


def of_month(url: str, month: str, columns: str) -> list[tuple[object, ...]]:
    text = f"SELECT {columns} FROM rollup.user_monthly WHERE month = '{month}' ORDER BY user_id"
    return [tuple(row.values()) for row in ask(url, text)]


# From the first version to today's


def test_the_first_versions_tables_become_todays_with_every_row(old: str, new: str) -> None:
    """`check` says what they lack."""
    ran = usage_jobs("check", "--json", url=old)
    told = [f for f in ran.object["findings"] if f["level"] != "ok" and "schema --apply" in f["remedy"]]
    named = {finding["subject"].split(",")[0].split()[0] for finding in told}
    assert named >= {f"rollup.{table}" for table in ("credit_draws", "billing_modes", "corrections")}
    assert any("append" in finding["expected"] + finding["found"] for finding in told), "its ledger can be changed"
    before = rows(old)
    applied(old)
    assert lost(before, rows(old), but=NOT_COMPUTED) == []
    assert unlike(catalog(old), catalog(new)) == {}


def test_a_run_goes_on_where_the_first_version_stopped(old: str) -> None:
    """Who pays by credits is drawn from now on in the open month; the closed one stays as it was written.

    Nobody computed what was due in May, of which its columns say 0: NULL says so, and breaks no law.
    """
    before = rows(old)
    applied(old)
    assert usage_jobs("check", url=old).code == 0
    assert usage_jobs("run", url=old).code == 3
    assert lost(before, rows(old), month="2026-05", but=NOT_COMPUTED) == []
    figures = "user_id, total_cost, credits_free, credits_purchased, uncovered, amount_due"
    amounts = [("ada", "3.1", "1", "2", "0.1", "0"), ("bob", "3.1", "0", "0", "0", "3.1")]
    assert of_month(old, "2026-06-01", figures) == [(user, *map(Decimal, some)) for user, *some in amounts]
    assert [row["run_id"] for row in rows(old)["runs"]] == [1, 2]
    again = usage_jobs("run", "--json", url=old).object
    assert again["rows_changed"] == 0
    assert of_month(old, "2026-05-01", ", ".join(NOT_COMPUTED)) == [(None, None, None)] * 2
    ran = usage_jobs("reconcile", "--json", "--from", "2026-05-01", url=old)
    assert (ran.code, broken(ran)) == (0, [])


@pytest.mark.thorough
def test_the_first_version_and_a_fresh_start_price_alike(old: str, new: str) -> None:
    """Of the closed month a backfill makes what the first version did not have: fingerprints, and its days."""
    for url in (old, new):
        applied(url)
        assert usage_jobs("run", url=url).code == 3
    figures = "month, user_id, days, cpu_hours, cpu_hours_cost, storage_gb, storage_gb_cost, total_cost"
    assert user_months(old, figures) == user_months(new, figures)
    assert of_month(old, "2026-06-01", "usage_hash") == of_month(new, "2026-06-01", "usage_hash")
    assert user_days(old) == [row for row in user_days(new) if row["date"] >= JUNE]
    may = ("backfill", "--from", "2026-05-01", "--to", "2026-05-31", "--reason", "upgraded", "--yes")
    assert usage_jobs(*may, url=old).code == 0
    figures += ", row_count, usage_hash"
    assert user_months(old, figures) == user_months(new, figures)
    assert user_days(old) == user_days(new)


def user_months(url: str, columns: str) -> list[dict[str, Any]]:
    return ask(url, f"SELECT {columns} FROM rollup.user_monthly ORDER BY month, user_id")


def user_days(url: str) -> list[dict[str, Any]]:
    """What user_daily holds, run ids and draws aside: the first version drew nothing in May."""
    found = ask(url, "SELECT * FROM rollup.user_daily ORDER BY date, user_id, cluster_id")
    return [{name: row[name] for name in row.keys() - {"run_id", "credits_deducted"}} for row in found]


# A new column

TO_BE_COMPUTED = ("fingerprint",)
"""Of open months `schema --apply` takes it away where a roll-up gets a column: the next run computes them again."""


@pytest.mark.thorough
def test_a_new_column_comes_without_losing_a_row(old: str, new: str) -> None:
    """As it came into 0.1.0: NULL is what nobody has computed, and a count is 0."""
    applied(old)
    assert usage_jobs("run", url=old).code == 3
    lacks = {"user_monthly": NOT_COMPUTED, "cluster_monthly": ("users",), "months": ("usage_hash",), "runs": ("error",)}
    for table, columns in lacks.items():
        do(old, f"ALTER TABLE rollup.{table} " + ", ".join(f"DROP COLUMN {column}" for column in columns))
    before = rows(old)
    refused = usage_jobs("run", url=old)
    assert refused.code == 5
    assert [name for name in ("uncovered", "cluster_monthly", "usage_hash", "error") if name not in refused.err] == []
    applied(old)
    assert lost(before, rows(old), but=TO_BE_COMPUTED) == []
    assert of_month(old, "2026-05-01", ", ".join(NOT_COMPUTED)) == [(None, None, None)] * 2
    assert set(catalog(old)) == set(catalog(new))
    assert usage_jobs("run", url=old).code == 3
    assert of_month(old, "2026-06-01", "uncovered, amount_due") == [(Decimal("0.1"), 0), (0, Decimal("3.1"))]
    assert lost(before, rows(old), month="2026-05") == []
    assert usage_jobs("reconcile", url=old).code == 0


# Other meters in the settings


def metered(directory: Path, *more: str, without: str = "") -> None:
    """The default meters but for one, and more."""
    names = [name for name in (*METERS, *more) if name != without]
    level = 'kind = "level"\n'
    tables = [f'[meters.{name}]\ncolumn = "{name}"\n{level if name == "storage_gb" else ""}' for name in names]
    lines = [line for line in (RATES + EGRESS).splitlines(keepends=True) if line.split(",")[0] in names]
    configured(directory, settings="".join(tables), rates=HEADER + "".join(lines))


@pytest.mark.thorough
def test_a_meter_that_is_added_gets_its_columns_and_keeps_every_row(old: str, tmp_path: Path) -> None:
    applied(old)
    assert usage_jobs("run", url=old).code == 3
    before, days = rows(old), user_days(old)
    metered(tmp_path, "egress_gb")
    do(old, "ALTER TABLE usage_daily ADD COLUMN egress_gb numeric(10,2) DEFAULT 5")
    checked = usage_jobs("check", "--json", url=old)
    refused = {f["subject"]: f["found"] for f in checked.object["findings"] if f["level"] == "refused"}
    assert refused == {f"rollup.{table}": "without egress_gb, egress_gb_cost" for table in DAILY_AND_MONTHLY}
    assert usage_jobs("run", url=old).code == 5
    applied(old)
    assert lost(before, rows(old), but=TO_BE_COMPUTED) == []
    assert [row.items() <= now.items() for row, now in zip(days, user_days(old), strict=True)] == [True] * len(days)
    assert usage_jobs("check", url=old).code == 0
    assert usage_jobs("run", url=old).code == 3
    assert lost(before, rows(old), month="2026-05") == []
    assert of_month(old, "2026-05-01", "egress_gb, egress_gb_cost") == [(0, 0)] * 2
    assert of_month(old, "2026-06-01", "egress_gb, egress_gb_cost, total_cost") == [(10, 1, Decimal("4.1"))] * 2
    assert usage_jobs("reconcile", url=old).code == 0


def test_a_meter_that_is_left_out_leaves_its_columns_and_is_named_or_emptied(old: str, tmp_path: Path) -> None:
    """What stays in a column of nobody's is counted by whoever adds up the columns of the open month."""
    applied(old)
    assert usage_jobs("run", url=old).code == 3
    before = rows(old)
    metered(tmp_path, without="gpu_hours")
    applied(old)
    assert lost(before, rows(old)) == []
    checked = usage_jobs("check", "--json", url=old)
    assert checked.code == 0
    told = any("gpu_hours" in finding["subject"] + finding["found"] for finding in checked.object["findings"])
    assert usage_jobs("run", url=old).code == 3
    assert lost(before, rows(old), month="2026-05") == []
    charged = "cpu_hours_cost + gpu_hours_cost + storage_gb_cost + adjustment_cost"
    found = of_month(old, "2026-06-01", f"total_cost, {charged}")
    assert told or found == [(Decimal("1.1"), Decimal("1.1"))] * 2
    assert usage_jobs("reconcile", url=old).code == 0


def test_a_meter_of_any_name_gets_columns_or_is_refused_by_the_settings(old: str, tmp_path: Path) -> None:
    def applying(name: str) -> Ran:
        rates = f"{HEADER}{name},2020-01-01,0,1,1,x\n"
        configured(tmp_path, settings=f'[meters."{name}"]\ncolumn = "cpu_hours"\n', rates=rates)
        return usage_jobs("schema", "--apply", url=old)

    for name in ("Egress", "egress gb", "ünits"):
        done = applying(name)
        assert (done.code, name in done.err) == (2, True)
    for name in ("select", "x" * 40):
        done = applying(name)
        assert done.code == 0, done.err
        assert usage_jobs("check", url=old).code == 0
        assert usage_jobs("run", url=old).code == 3
        assert of_month(old, "2026-06-01", f'"{name}", "{name}_cost"') == [(5, 5)] * 2
