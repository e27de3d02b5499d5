"""The nightly job on the three shapes of the database, against plain Decimal sums."""

import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from commands import CLUSTER, RATES, add_row, applied, ask, configured, usage_jobs, written

EXAMPLE = Path(__file__).parents[2] / "config" / "examples" / "shape-c"
DEFAULT = {
    name: name for name in ("cpu_hours", "gpu_hours", "storage_gb", "feature_store_api_calls", "model_inference_calls")
}
OPENCOST = {
    "cpu_hours": "opencost_cpu_hours",
    "gpu_hours": "opencost_gpu_hours",
    "ram_gb_hours": "opencost_ram_gb_hours",
    "online_storage_gb": "online_storage_gb",
    "offline_storage_gb": "offline_storage_gb",
    "network_egress_gb": "network_egress_gb",
}
LEVELS = {"storage_gb", "online_storage_gb", "offline_storage_gb"}
DAYS_IN = {5: 31, 6: 30}
Row = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """A database of a shape: its meters by name with their columns, how a command finds its settings, its prices."""

    url: str
    meters: dict[str, str]
    options: tuple[str, ...]
    prices: dict[str, Decimal]

    def run(self, *options: str, today: date = date(2026, 6, 21), cost: str = "recorded") -> Row:
        ran = usage_jobs("run", "--json", *options, *self.options, url=self.url, today=today, USAGE_JOBS_COST=cost)
        assert ran.code == 0, ran.err
        return ran.object

    def charge(self, row: Row, meter: str) -> Decimal:
        """What a row's quantity of a meter costs: by the month where it is a stock, rounded once."""
        whole = Decimal(row.get(self.meters[meter]) or 0) * self.prices[meter]
        exact = whole / (DAYS_IN[row["date"].month] if meter in LEVELS else 1)
        return exact.quantize(Decimal("1e-10"), ROUND_HALF_EVEN)

    def cost(self, row: Row) -> Decimal:
        return row.get("total_cost") or sum((self.charge(row, meter) for meter in self.meters), Decimal(0))


def prices(rates: str) -> dict[str, Decimal]:
    """Per unit, of a rate card without tiers."""
    lines = csv.DictReader(line for line in rates.splitlines() if not line.startswith("#"))
    return {line["meter"]: Decimal(line["price"]) / int(line["per"]) for line in lines}


@pytest.fixture(params=["a", "b", "c"])
def shape(request: pytest.FixtureRequest, make_database: Callable[..., str], tmp_path: Path) -> Shape:
    url = make_database(request.param)
    if request.param == "c":
        options = ("--config", str(EXAMPLE / "settings.toml"))
        rates = (EXAMPLE / "rates.csv").read_text(encoding="utf-8")
        made = usage_jobs("schema", "--apply", *options, url=url)
        assert made.code == 0, made.err
        return Shape(url, OPENCOST, options, prices(rates))
    configured(tmp_path)
    return Shape(applied(url), DEFAULT, (), prices(RATES))


def filled(shape: Shape) -> list[Row]:
    """Two users on two clusters and none, around the end of May; one of the rows has a recorded cost."""
    rows: list[Row] = []
    for number, day in enumerate(date(2026, 5, 30) + timedelta(days=n) for n in range(5)):
        for user, cluster in (("ada", CLUSTER), ("bob", [CLUSTER, UUID(int=0xC2), None][number % 3])):
            row: Row = {"user_id": user, "date": day, "hopsworks_cluster_id": cluster}
            for place, column in enumerate(shape.meters.values()):
                quantity = 7 * number + 13 * place + len(rows)
                row[column] = quantity if column.endswith("calls") else Decimal(quantity) / 100
            rows.append(row)
    rows[3]["total_cost"] = Decimal("9.99")
    for row in rows:
        add_row(shape.url, **row)
    return rows


def summed(rows: list[Row], shape: Shape, *keys: str) -> dict[tuple[Any, ...], Decimal]:
    sums: dict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
    for row in rows:
        place = row | {"month": row["date"].replace(day=1), "cluster_id": row["hopsworks_cluster_id"]}
        sums[tuple(place[key] for key in keys)] += shape.cost(row)
    return dict(sums)


def test_the_nightly_job(shape: Shape) -> None:
    """Check and explain agree with it, and a second run changes nothing."""
    rows = filled(shape)
    report = shape.run()
    assert Decimal(report["total_cost"]) == sum(shape.cost(row) for row in rows)
    assert (report["rows_read"], report["rows_rejected"], report["unpriced"]) == (10, 0, 9)
    for table, *keys in (
        ("user_monthly", "month", "user_id"),
        ("cluster_daily", "date", "cluster_id"),
        ("cluster_monthly", "month", "cluster_id"),
    ):
        held = ask(shape.url, f"SELECT {', '.join(keys)}, total_cost FROM rollup.{table}")
        assert {tuple(row[key] for key in keys): row["total_cost"] for row in held} == summed(rows, shape, *keys)
    for meter in shape.meters:
        [charged] = ask(shape.url, f"SELECT sum({meter}_cost) AS cost FROM rollup.user_monthly")
        assert charged["cost"] == sum(shape.charge(row, meter) for row in rows)
    told = usage_jobs("explain", "--user", "bob", "--month", "2026-05", "--json", *shape.options, url=shape.url)
    assert told.object["agrees"] is True
    assert told.object["rollup"].keys() >= {f"{meter}_cost" for meter in shape.meters}
    assert usage_jobs("check", *shape.options, url=shape.url).code == 0
    before = written(shape.url)
    assert set(shape.run()["changed"].values()) == {0}
    after = written(shape.url)
    assert {name for name in after if after[name] != before[name]} == {"rollup.runs"}


# What is written back where total_cost has two decimals


def a_june_of_pennies(shape: Shape) -> None:
    """Thirty days that cost 0.004 each."""
    hours = Decimal("0.004") / shape.prices["cpu_hours"]
    for n in range(30):
        add_row(shape.url, **{"date": date(2026, 6, 1 + n), shape.meters["cpu_hours"]: hours})


def recorded(shape: Shape) -> list[Decimal]:
    return [row["total_cost"] for row in ask(shape.url, "SELECT total_cost FROM usage_daily ORDER BY date")]


def two_decimals(shape: Shape) -> bool:
    text = "SELECT format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = 'usage_daily'::regclass"
    return ask(shape.url, text + " AND attname = 'total_cost'") == [{"type": "numeric(10,2)"}]


@pytest.mark.parametrize("shape", ["a", "c"], indirect=True)
def test_small_days_add_up_to_the_rounded_whole(shape: Shape) -> None:
    a_june_of_pennies(shape)
    exact = not two_decimals(shape)
    shape.run("--date", "2026-06-10", cost="rated")
    first = recorded(shape)
    assert sum(first[:10]) == Decimal("0.04")
    assert all(not cost for cost in first[10:])
    report = shape.run(today=date(2026, 7, 1), cost="rated")
    whole = recorded(shape)
    assert whole[:10] == first[:10], "a row that stays the same is not written"
    assert sum(whole) == Decimal("0.12")
    assert set(whole) == ({Decimal("0.004")} if exact else {Decimal("0.00"), Decimal("0.01")})
    assert report["changed"]["usage_daily"] == (20 if exact else whole[10:].count(Decimal("0.01")))
    assert shape.run(today=date(2026, 7, 1), cost="rated")["rows_changed"] == 0
    assert Decimal(report["total_cost"]) == Decimal("0.12")


@pytest.mark.parametrize("shape", ["b"], indirect=True)
def test_a_month_keeps_its_mode(shape: Shape) -> None:
    a_june_of_pennies(shape)
    shape.run("--date", "2026-06-20")
    report = shape.run(today=date(2026, 7, 1), cost="rated")
    assert any(note.startswith("2026-06 keeps cost = 'recorded'") for note in report["notes"])
    assert report["changed"]["usage_daily"] == 0
    assert not any(recorded(shape))
