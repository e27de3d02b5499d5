"""FOCUS files of the three shapes and of the demo: every kind of row, exact sums, and no broken rule of FOCUS 1.2."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import psycopg
import pytest
from commands import CLUSTER, HEADER, RATES, add_row, applied, ask, configured, insert, usage_jobs
from focus_sums import check_sums
from focus_validator import Validate
from prepaid import account, user

from jobs.demo import sample
from jobs.settings import load

EXAMPLE = Path(__file__).parents[2] / "config" / "examples" / "shape-c"
MAY, JUNE = date(2026, 5, 1), date(2026, 6, 1)
LAST = date(2026, 6, 20)
TIERED = HEADER + (
    "cpu_hours,2020-01-01,0,0.10,1,list\n"
    "cpu_hours,2020-01-01,5,0.08,1,from 5 hours\n"
    "cpu_hours,2020-01-01,40,0.0333333333,1,from 40 hours\n"
    "cpu_hours,2026-06-03,0,0.12,1,June\n"
    "gpu_hours,2020-01-01,0,0.50,1,list\n"
    "storage_gb,2020-01-01,0,0,1,10 GB included\n"
    "storage_gb,2020-01-01,10,0.30,1,list\n"
    "feature_store_api_calls,2020-01-01,0,0.10,1000,list\n"
    "model_inference_calls,2020-01-01,0,1.00,1000,list\n"
)


@dataclass(frozen=True)
class Place:
    """A database of a shape, and how a command finds its settings."""

    shape: str
    url: str
    options: tuple[str, ...]
    hours: tuple[str, str, str]
    """The columns of cpu hours, gpu hours, and stored GB."""

    def run(self, *arguments: str) -> dict[str, Any]:
        ran = usage_jobs(*arguments, "--json", *self.options, url=self.url)
        assert ran.code == 0, ran.err
        return ran.object

    def export(self, file: Path, *options: str) -> pl.DataFrame:
        done = self.run(
            "export", "--format", "focus", "--month", "2026-05", "--to", "2026-06", "--out", str(file), *options
        )
        rows = pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file, infer_schema=False)
        assert (done["path"], done["rows"]) == (str(file), rows.height)
        assert done["notes"] == [f"2026-06 is open: its figures are those up to {LAST}, and may change"]
        return rows


@pytest.fixture(
    params=[pytest.param("a", marks=pytest.mark.thorough), "b", pytest.param("c", marks=pytest.mark.thorough)]
)
def place(request: pytest.FixtureRequest, make_database: Callable[..., str], tmp_path: Path) -> Place:
    url = make_database(request.param)
    if request.param == "c":
        options = ("--config", str(EXAMPLE / "settings.toml"))
        made = usage_jobs("schema", "--apply", *options, url=url)
        assert made.code == 0, made.err
        names = ("opencost_cpu_hours", "opencost_gpu_hours", "online_storage_gb")
        found = Place("c", url, options, names)
    else:
        tiers = {"a": "day", "b": "month"}[request.param]
        configured(tmp_path, settings=f'tiers = "{tiers}"\n[reports]\noperator = "Example Ltd"\n', rates=TIERED)
        found = Place(request.param, applied(url), (), ("cpu_hours", "gpu_hours", "storage_gb"))
    fill(found)
    found.run("run", "--date", "2026-06-10")
    change(found)
    return found


def fill(place: Place) -> None:
    """Users of every billing mode, a cluster and none, recorded costs, and prices of their own."""
    modes = {"ada": "prepaid", "poor": "prepaid", "bob": "postpaid", "eve": "postpaid"}
    modes |= {} if place.shape == "a" else {"guest": "free"}
    for name, mode in modes.items():
        user(place.url, name, mode=mode)
    account(place.url, "ada", granted="3", purchased="20")
    account(place.url, "poor", granted="1", purchased="0.5")
    days = [date(2026, 5, 30), date(2026, 5, 31), *(date(2026, 6, n) for n in (1, 2, 3, 4, 9))]
    for number, day in enumerate(days):
        for name in modes:
            more = {"total_cost": Decimal("4.50")} if (name, number) in (("ada", 2), ("bob", 3)) else {}
            quantities = (Decimal(7 * number + len(name)) / 3, Decimal(number) / 7, Decimal(20 + number))
            some = {column: round(amount, 2) for column, amount in zip(place.hours, quantities, strict=True) if amount}
            add_row(
                place.url, user_id=name, date=day, hopsworks_cluster_id=CLUSTER if number % 3 else None, **some, **more
            )
    if place.shape != "c":
        since = {"valid_from": "2026-01-01"} if place.shape == "a" else {"active": True}
        prices = {"gpu_hours": {"override_price": "0.3"}, "cpu_hours": {"override_price": "0.15"}}
        overrides = (
            ("bob", "gpu_hours", prices["gpu_hours"]),
            ("bob", "cpu_hours", prices["cpu_hours"]),
            ("ada", "cpu_hours", {"discount_percentage": "12.5"}),
            ("eve", "storage_gb", {"discount_percentage": "33.33"}),
        )
        for number, (name, kind, terms) in enumerate(overrides):
            dated: dict[str, Any] = {"id": UUID(int=number), "created_at": "2026-01-01", **since, **terms}
            insert(place.url, "user_pricing_overrides", user_id=name, resource_type=kind, **dated)


def change(place: Place) -> None:
    """A closed month is corrected; some rows are reported to Stripe, of the closed month, too; a run follows."""
    hours = place.hours[0]
    ask(
        place.url,
        f"UPDATE usage_daily SET {hours} = {hours} + 5 WHERE date = '2026-05-31' AND user_id IN ('eve', 'ada')",
    )
    place.run("backfill", "--from", "2026-05-01", "--to", "2026-05-31", "--reason", "late hours", "--yes")
    if place.shape == "b":
        reported = "UPDATE usage_daily SET reported_to_stripe = true WHERE user_id = 'bob' AND date = %s"
        for day in (date(2026, 5, 30), date(2026, 6, 2)):
            ask(place.url, reported, day)
    place.run("run", "--date", str(LAST))


@pytest.mark.thorough
def test_focus_validator_finds_nothing(place: Place, tmp_path: Path, validate_focus: Validate) -> None:
    for name in ("focus.csv", "focus.parquet"):
        place.export(tmp_path / name)
        assert validate_focus(tmp_path / name) == {}
    place.export(tmp_path / "ids.csv", "--no-names", "--cluster", str(CLUSTER))
    assert validate_focus(tmp_path / "ids.csv") == {}


@pytest.mark.thorough
def test_focus_validator_finds_nothing_in_the_demo(
    make_database: Callable[..., str], tmp_path: Path, validate_focus: Validate
) -> None:
    url = make_database("a")
    with psycopg.connect(url) as link:
        sample.load(link, users=30, days=45, last_day=LAST)
    configured(tmp_path, rates=RATES)
    place = Place("a", applied(url), (), ("cpu_hours", "gpu_hours", "storage_gb"))
    ran = usage_jobs("run", "--date", str(LAST), url=url)
    assert ran.code in (0, 3), ran.err  # the sample has a row that cannot be priced
    for name in ("focus.csv", "focus.parquet"):
        place.export(tmp_path / name)
        assert validate_focus(tmp_path / name) == {}


def test_a_file_of_each_shape(place: Place, tmp_path: Path) -> None:
    """One test: to make such a database takes longer than to look at its files."""
    rows = place.export(tmp_path / "focus.parquet")
    look_at_rows(place, rows, place.export(tmp_path / "focus.csv"))
    look_at_corrections(place, rows)
    look_at_limits(place, rows, tmp_path)
    look_at_refusal(place, tmp_path)


def look_at_rows(place: Place, rows: pl.DataFrame, texts: pl.DataFrame) -> None:
    """Both formats have the same rows; there is every kind of them; their sums are those of the tables."""
    assert texts["EffectiveCost"].to_list() == rows["EffectiveCost"].cast(pl.String).to_list()
    assert texts["SubAccountId"].to_list() == rows["SubAccountId"].to_list()
    settings = load(Path(place.options[1]) if place.options else None, {"DATABASE_URL": place.url}, Path.cwd())
    for month in (MAY, JUNE):
        lines = rows.filter(pl.col("BillingPeriodStart").dt.date() == month).to_dicts()
        check_sums(lines, place.url, month, [meter.name for meter in settings.meters if charged(place, meter.name)])
    kinds = set(rows.select("ChargeCategory", "ChargeClass").rows())
    assert kinds == {("Usage", None), ("Credit", None), ("Adjustment", None), ("Adjustment", "Correction")}
    assert None in set(rows["ResourceId"])
    provider = "usage-jobs" if place.shape == "c" else "Example Ltd"
    assert set(rows["ProviderName"]) == set(rows["BillingAccountId"]) == {provider}


def charged(place: Place, meter: str) -> bool:
    columns = ask(place.url, "SELECT column_name FROM information_schema.columns WHERE table_name = 'user_daily'")
    return {"column_name": f"{meter}_cost"} in columns


def look_at_corrections(place: Place, rows: pl.DataFrame) -> None:
    """Corrections, and what was reported to Stripe after its month had closed, say what they are."""
    corrections = rows.filter(pl.col("ChargeClass") == "Correction")
    stored = ask(place.url, "SELECT user_id, new_total - old_total AS change FROM rollup.corrections ORDER BY user_id")
    found = corrections.select("SubAccountId", "ContractedCost").rows()
    assert found == [(row["user_id"], row["change"]) for row in stored]
    assert len(found) >= 2
    assert all("(usage): late hours" in text for text in corrections["ChargeDescription"])
    later = rows.filter(pl.col("ChargeDescription").str.starts_with("How the month was paid"))
    assert later["SubAccountId"].to_list() == (["bob"] if place.shape == "b" else [])
    assert later["BilledCost"].sum() == 0
    assert later["x_AmountDue"].sum() == -later["x_AmountReported"].sum()


def look_at_limits(place: Place, rows: pl.DataFrame, tmp_path: Path) -> None:
    """What is asked for is what the whole file has of it; a correction is of no cluster."""
    ada = place.export(tmp_path / "ada.parquet", "--user", "ada")
    assert ada.equals(rows.filter(pl.col("SubAccountId") == "ada"))
    here = place.export(tmp_path / "here.parquet", "--cluster", str(CLUSTER))
    assert here.equals(rows.filter(pl.col("ResourceId") == str(CLUSTER)))
    assert set(here["ResourceName"]) == {"eu"}
    nowhere = place.export(tmp_path / "nowhere.parquet", "--cluster", "none", "--no-names")
    one_day = pl.col("ChargePeriodEnd") - pl.col("ChargePeriodStart") == pl.duration(days=1)
    columns = [name for name in rows.columns if name != "SubAccountName"]
    assert nowhere.select(columns).equals(rows.filter(pl.col("ResourceId").is_null(), one_day).select(columns))


def look_at_refusal(place: Place, tmp_path: Path) -> None:
    """Usage has changed since the last run: the file that is there stays, and nothing else is left."""
    file = tmp_path / "files" / "focus.csv"
    file.parent.mkdir()
    file.write_text("before")
    ask(place.url, f"UPDATE usage_daily SET {place.hours[0]} = 99 WHERE user_id = 'eve' AND date = '2026-06-04'")
    ran = usage_jobs(
        "export", "--format", "focus", "--month", "2026-06", "--out", str(file), *place.options, url=place.url
    )
    assert (ran.code, file.read_text(), list(file.parent.iterdir())) == (6, "before", [file])
    assert "eve" in ran.err
