"""What `backfill --dry-run` lists is what the backfill then does, row for row; and each change has its true cause.

Each case is a small business with three closed months, in which something is changed upstream that the case knows: late
usage, prices, overrides, credit, or several of them. PLANS sets how many cases, from PLAN_SEED on.
"""

import os
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from commands import HEADER, Ran, ask, configured, insert, usage_jobs
from counts import count
from killing import Rows, differing, tables
from prepaid import others

from jobs.pipeline.plan_approval import ChangeRecorder
from jobs.rollups.changes import CHANGES, SEPARATOR

CASES = count("PLANS")
SEED = int(os.environ.get("PLAN_SEED", "0"))
TODAY = date(2026, 6, 21)
MONTHS = [date(2026, 3, 1), date(2026, 4, 1), date(2026, 5, 1)]
USERS = {"ann": "prepaid", "ben": "prepaid", "cat": "prepaid", "dan": "postpaid", "eve": None}
CLUSTERS = [UUID(int=1), UUID(int=2), None]
NIGHTLY = {"USAGE_JOBS_START": "2026-03"}
METERS = ("cpu_hours", "gpu_hours", "storage_gb", "feature_store_api_calls", "model_inference_calls")
CARDS = HEADER + "".join(f"{meter},2020-01-01,0,0.{n + 1}0,1,list\n" for n, meter in enumerate(METERS))
KEYS = {
    "user_daily": ("date", "user_id", "cluster_id"),
    "user_monthly": ("month", "user_id"),
    "cluster_daily": ("date", "cluster_id"),
    "cluster_monthly": ("month", "cluster_id"),
    "corrections": ("month", "user_id"),
    "months": ("month",),
    "usage_daily": ("id",),
    "credit_draws": ("usage_daily_id", "user_id"),
    "user_credits": ("user_id",),
    "rejects": ("usage_daily_id",),
}
Key = tuple[str, ...]


@dataclass
class Case:
    """A database, and what was changed in it of which user-month, by cause."""

    url: str
    rng: random.Random
    causes: defaultdict[tuple[date, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    bought: set[str] = field(default_factory=set)
    cards: str = CARDS

    def jobs(self, *arguments: str) -> Ran:
        return usage_jobs(*arguments, url=self.url, today=TODAY, **NIGHTLY)

    def begin(self) -> None:
        """Usage of all months, of which a run closes three; then the next night, so that accounts have moved on."""
        rng = self.rng
        for user, mode in USERS.items():
            insert(self.url, "users", id=user, billing_mode=mode)
            if mode is not None:  # who pays by invoice may have an account, too
                granted, bought = rng.randrange(0, 20), rng.choice([0, 30, 200])
                insert(self.url, "user_credits", user_id=user, free_credits_granted=granted, total_purchased=bought)
        for cluster in CLUSTERS[:2]:
            insert(self.url, "hopsworks_clusters", id=cluster, name=f"eu-{cluster}")
        for month in [*MONTHS, date(2026, 6, 1)]:
            for user in USERS:
                for _ in range(rng.randrange(0, 4)):
                    self.add(user, month)
        for day in ("2026-06-10", "2026-06-20"):
            assert self.jobs("run", "--date", day).code == 0

    def add(self, user: str, month: date) -> None:
        day = month + timedelta(days=self.rng.randrange(0, 20))
        hours = Decimal(self.rng.randrange(1, 4000)) / 100
        insert(
            self.url,
            "usage_daily",
            user_id=user,
            date=day,
            cpu_hours=hours,
            gpu_hours=hours / 4,
            storage_gb=self.rng.randrange(0, 3000),
            hopsworks_cluster_id=self.rng.choice(CLUSTERS),
        )

    # What changes upstream

    def late_usage(self, user: str, month: date) -> None:
        found = ask(
            self.url,
            "SELECT id FROM usage_daily WHERE user_id = %s AND date_trunc('month', date) = %s ORDER BY id",
            user,
            month,
        )
        kind = self.rng.choice(["add", "change", "delete"]) if found else "add"
        if kind == "add":
            self.add(user, month)
        elif kind == "change":
            ask(self.url, "UPDATE usage_daily SET cpu_hours = cpu_hours + 1 WHERE id = %s", found[0]["id"])
        else:
            ask(self.url, "DELETE FROM usage_daily WHERE id = %s", found[0]["id"])
        self.causes[month, user].add("usage")

    def price(self, month: date) -> None:
        """From the 5th to the 12th another price, once."""
        if str(month.replace(day=5)) in self.cards:
            return
        self.cards += f"cpu_hours,{month.replace(day=5)},0,0.{self.rng.randrange(11, 99)},1,dearer\n"
        self.cards += f"cpu_hours,{month.replace(day=12)},0,0.10,1,list\n"
        for user in USERS:
            self.causes[month, user].add("price")

    def override(self, user: str, month: date) -> None:
        insert(
            self.url,
            "user_pricing_overrides",
            user_id=user,
            resource_type="cpu_hours",
            discount_percentage=self.rng.randrange(1, 100),
            valid_from=month.replace(day=3),
            valid_until=month.replace(day=9),
        )
        self.causes[month, user].add("override")

    def credit(self, user: str) -> None:
        others(self.url, user, purchased=str(self.rng.randrange(1, 300)))
        self.bought.add(user)

    def change(self, kind: str) -> None:
        """One of the above, or three of them."""
        user, month = self.rng.choice(sorted(USERS)), self.rng.choice(MONTHS)
        if kind == "usage":
            self.late_usage(user, month)
        elif kind == "price":
            self.price(month)
        elif kind == "override":
            self.override(user, month)
        elif kind == "credit":
            self.credit(self.rng.choice(["ann", "ben", "cat", "dan"]))
        else:
            for one in self.rng.choices(["usage", "usage", "override", "credit", "price"], k=3):
                self.change(one)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[pl.DataFrame]:
    """Every row that the last run or dry run has listed."""
    listed: list[pl.DataFrame] = []

    def listing(add: Callable[..., None], *, at: int) -> Callable[..., None]:
        def adding(self: ChangeRecorder, *arguments: Any) -> None:
            if not self.digests_by_user and not self.stages:
                listed.clear()
            listed.append(arguments[at])
            add(self, *arguments)

        return adding

    monkeypatch.setattr(ChangeRecorder, "add_batch", listing(ChangeRecorder.add_batch, at=0))
    monkeypatch.setattr(ChangeRecorder, "add_stage", listing(ChangeRecorder.add_stage, at=1))
    return listed


KINDS = ("usage", "price", "override", "credit", "mixed", "mixed")


@pytest.mark.parametrize("number", range(SEED, SEED + CASES))
def test_the_plan_is_what_is_done(
    number: int, make_database: Callable[..., str], tmp_path: Path, recorded: list[pl.DataFrame]
) -> None:
    case = Case(make_database("a", ready=True), random.Random(number))
    configured(tmp_path, rates=CARDS)
    case.begin()
    case.change(KINDS[number % len(KINDS)])
    configured(tmp_path, rates=case.cards)
    last = case.rng.choice(["2026-05-31", "2026-06-02"])
    backfill = ("backfill", "--from", "2026-03-01", "--to", last, "--reason", "a test", "--json")
    before = tables(case.url)
    promised = case.jobs(*backfill, "--dry-run")
    assert promised.code == 0, promised.err
    assert differing(tables(case.url), before) == [], "a dry run writes nothing"
    plan, planned = promised.object["plan"], pl.concat(recorded)
    kept = case.jobs(*backfill, "--plan", plan["hash"])
    assert kept.code == 0, kept.err
    done = kept.object
    assert done["changed"] == promised.object["changed"]
    assert done["plan"] | {"months": None} == plan | {"months": None}
    assert sorted(map(str, planned.rows())) == sorted(map(str, pl.concat(recorded).rows()))
    assert_same_rows(planned, before, tables(case.url))
    assert_causes(case, plan, ask(case.url, "SELECT * FROM rollup.corrections"))
    assert_nothing_else(before, tables(case.url))
    again = case.jobs(*backfill, "--yes")
    assert again.object["rows_changed"] == 0
    assert case.jobs("watch", "--all").code == 0
    laws = case.jobs("reconcile", "--from", "2026-03-01", "--to", "2026-06-30")
    assert laws.code == 0, laws.out


def assert_same_rows(planned: pl.DataFrame, before: dict[str, Rows], after: dict[str, Rows]) -> None:
    """Of each table just the rows that were listed have changed, from what was listed to what was listed."""
    for table, key in KEYS.items():
        expected = {
            tuple(row["key"].split(SEPARATOR)): row for row in planned.rows(named=True) if row["table"] == table
        }
        changed = {
            textual(table, place, key): (before[table].get(place), after[table].get(place))
            for place in before[table].keys() | after[table].keys()
            if before[table].get(place) != after[table].get(place)
        }
        if table == "credit_draws":  # listed by row, user and month
            expected = {place[:2]: row for place, row in expected.items()}
        assert changed.keys() == expected.keys(), table
        for place, (old, new) in changed.items():
            row = expected[place]
            assert (row["new"] is None) == (new is None), (table, place)
            if table not in ("months", "corrections", "credit_draws"):
                assert (row["old"] is None) == (old is None), (table, place)
            if table == "usage_daily":
                assert new
                assert row["new"].split(SEPARATOR)[1] == units(new["credits_deducted"]), place
            if table in ("user_daily", "user_monthly", "cluster_daily", "cluster_monthly") and new:
                values = {units(new[name]) for name in ("total_cost", "credits_deducted", "cpu_hours")}
                assert values <= set(row["new"].split(SEPARATOR)), (table, place)
    posted = sum(row["count"] for row in after["credit_transactions"].values())
    posted -= sum(row["count"] for row in before["credit_transactions"].values())
    assert posted == planned.filter(pl.col("table") == "credit_transactions").height
    assert set(planned["table"]) <= {*KEYS, "credit_transactions", "billing_modes", "debts"}
    assert planned.columns == list(CHANGES)


def assert_nothing_else(before: dict[str, Rows], after: dict[str, Rows]) -> None:
    """In closed months only what has changed besides the account is written, and gets its next revision."""
    for place, row in after["user_monthly"].items():
        if (old := before["user_monthly"].get(place)) and place[0] in MONTHS:
            apart = {name for name in row if row[name] != old[name]}
            assert row["revision"] == old["revision"] + bool(apart), place
            assert not apart or apart - {"credits_hash", "revision"}, place


def units(value: Decimal | None) -> str:
    return "\x00" if value is None else str(int(value * 10**10))


def textual(table: str, place: tuple[Any, ...], key: tuple[str, ...]) -> Key:
    """A key of the database as the plan writes it."""
    parts = [part for part, _ in zip(place, key, strict=False)]
    numbers = table.startswith("cluster_") or table == "user_daily"
    return tuple(
        "\x00" if part is None else str(part.int) if numbers and isinstance(part, UUID) else str(part) for part in parts
    )


def assert_causes(case: Case, plan: dict[str, Any], corrections: list[dict[str, Any]]) -> None:
    """Each correction names what the case has changed, in a fixed order, and nothing else."""
    assert {(row["month"], row["user_id"]) for row in corrections} == {
        (date.fromisoformat(change["month"]), change["user_id"])
        for change in plan["changes"]
        if change["month"] < "2026-06-01"
    }
    for row in corrections:
        key = (row["month"], row["user_id"])
        known = expected_causes(case, key, row)
        assert row["cause"] == "+".join(word for word in ("usage", "price", "override", "credit") if word in known), key
        assert row["reason"] == "a test"
    missed = {key for key, causes in case.causes.items() if "usage" in causes}
    assert missed <= {(row["month"], row["user_id"]) for row in corrections}


def expected_causes(case: Case, key: tuple[date, str], row: dict[str, Any]) -> set[str]:
    known = set(case.causes[key])
    came_or_went = (row["old_total"] == 0) != (row["new_total"] == 0)
    if came_or_went:
        return {"usage"}
    if key[1] in case.bought and USERS[key[1]] == "prepaid":
        known.add("credit")
    # Nothing was done to this month: another month of the user gave back, or took, what it draws on.
    return known or {"credit"}
