"""The change check: what nobody meant to change is refused with both figures, and let pass by the token alone.

Twelve prepaid users, a year's habit of 5 USD a day, run up to 20 June; May is closed. The credit of six of them has run
out; the other six have free and purchased credit left. u12 has a price of his own.
"""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from commands import RATES, SHIPPED_LIMIT, Ran, ask, configured, contents
from commands import usage_jobs as unchecked
from conftest import Databases
from fresh_start import outcome
from job_runs import Runner, copied, differences
from shrinking import allowing

from jobs.pipeline import batch_reading, batches, run
from jobs.pipeline.batches import BatchRunner

MAY, DAY = date(2026, 5, 1), date(2026, 6, 20)
WORLD = (
    "INSERT INTO users (id, billing_mode) SELECT 'u' || lpad(n::text, 2, '0'), 'prepaid' FROM generate_series(1, 12) n",
    "INSERT INTO user_credits (user_id, free_credits_granted, total_purchased)"
    " SELECT id, CASE WHEN id <= 'u06' THEN 55 ELSE 1000 END, CASE WHEN id <= 'u06' THEN 100 ELSE 1000 END FROM users",
    "INSERT INTO user_pricing_overrides (user_id, resource_type, override_price, valid_from, valid_until)"
    " SELECT 'u01', 'cpu_hours', n, '2025-01-01', '2025-02-01' FROM generate_series(1, 12) n",
    "INSERT INTO user_pricing_overrides (user_id, resource_type, override_price, valid_from)"
    " VALUES ('u12', 'cpu_hours', 0.01, '2026-06-01')",
)
USAGE = (
    "INSERT INTO usage_daily (user_id, date, cpu_hours, storage_gb) SELECT id, day::date,"
    " CASE WHEN id = 'u12' THEN 300 ELSE 50 END, CASE WHEN day < '2026-06-01' THEN 0 ELSE 3 END"
    " FROM users, generate_series('{}'::date, '{}', '1 day') AS day"
)
LATER = USAGE.format("2026-06-21", "2026-07-03")
JUNE = "date BETWEEN '2026-06-01' AND '2026-06-20'"
POOR = "UPDATE user_credits SET total_purchased = {} WHERE user_id <= 'u06'"
CASES = {
    # A change; the figures that the refusal names; a larger change; what June costs and draws by it.
    "zeros": (
        f"UPDATE usage_daily SET cpu_hours = 0, storage_gb = 0 WHERE {JUNE} AND date < '2026-06-20'",
        [
            "would go from 1,167.20 to 58.36 (1,108.84 less; in 2026-05 it was 2,635.00); by",
            "by usage of 12 users (1,108.84 less), most of it: u01 (95.57 less), u02 (95.57 less), u03 (",
            "draws (free and purchased) of covered days would go from 563.60 to 28.18 (535.42 less; in",
        ],
        f"UPDATE usage_daily SET cpu_hours = 0, storage_gb = 0 WHERE {JUNE}",
        ("0", "0"),
    ),
    "another unit": (
        f"UPDATE usage_daily SET storage_gb = storage_gb * 1024 WHERE {JUNE}",
        [
            "cost of covered days would go from 1,167.20 to 8,532.80 (7,365.60 more;",
            "draws (free and purchased) of covered days would go from 563.60 to 4,246.40 (3,682.80 more;",
        ],
        f"UPDATE usage_daily SET storage_gb = 3 * 1025 WHERE {JUNE}",
        ("8540.00", "4250.00"),
    ),
    "purchases × 100": (
        POOR.format("190"),
        [
            "draws (free and purchased) of covered days would go from 563.60 to 1,103.60 (540.00 more;",
            "by credit of 6 users (540.00 more), most of it: u01 (90.00 more), u02 (90.00 more), u03 (",
        ],
        POOR.format("100 * 100"),
        ("1167.20", "1167.20"),
    ),
    "free grants to 0": (
        "UPDATE user_credits SET free_credits_granted = 0 WHERE user_id > 'u06'",
        ["draws (free and purchased) of covered days would go from 563.60 to 563.60 (563.60 more, 563.60 less; in"],
        POOR.format("100 * 100"),
        ("1167.20", "1167.20"),
    ),
    "no overrides at the close": (
        f"DELETE FROM user_pricing_overrides; {LATER}",
        [
            "0 overrides where the last finished run counted 13; 2026-06: the cost of",
            "cost of covered days would go from 1,167.20 to 1,707.20 (540.00 more;",
            "by override of 1 users (540.00 more), most of it: u12 (540.00 more)",
        ],
        POOR.format("190"),
        ("2560.80", "2195.40"),
    ),
    "no accounts at the close": (
        f"DELETE FROM user_credits WHERE user_id > 'u01'; {LATER}",
        ["1 accounts where the last finished run counted 12"],
        "DELETE FROM user_credits",
        ("1750.80", "563.60"),
    ),
    "a new day": (
        "INSERT INTO usage_daily (user_id, date, cpu_hours) VALUES ('u12', '2026-06-21', 30000)",
        [
            "2026-06-21: the new day would cost 300.00, more than 5 times the 58.36 that the 7 days of usage before it",
            "cost on average; most of it: u12 (300.00 more)",
        ],
        "INSERT INTO usage_daily (user_id, date, cpu_hours) VALUES ('u01', '2026-06-21', 1)",
        ("1467.30", "863.60"),
    ),
}
FIGURES = (
    "SELECT sum(total_cost) AS cost, sum(credits_deducted) AS draws FROM rollup.user_monthly WHERE month = '2026-06-01'"
)


def usage_jobs(*arguments: str, url: str, today: date = DAY + timedelta(days=1), **environment: str) -> Ran:
    """The command with the change check as it ships."""
    limit = {"USAGE_JOBS_MAX_CHANGE_AMOUNT": f"{SHIPPED_LIMIT}"}
    return unchecked(*arguments, url=url, today=today, **limit, **environment)


@pytest.fixture(scope="module")
def world(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("world")
    configured(folder, rates=RATES)
    url, runner = databases.create(), Runner(folder / "config" / "settings.toml")
    with psycopg.connect(url) as link:
        for text in (*WORLD, USAGE.format("2026-05-01", DAY)):
            link.execute(text.encode())
    runner.apply_schema(url)
    runner.run(url, DAY)
    yield url
    databases.retire([url])


@pytest.fixture
def url(databases: Databases, world: str, tmp_path: Path) -> Iterator[str]:
    """A copy, and settings where a command looks."""
    configured(tmp_path, rates=RATES)
    made = copied(databases, world)
    yield made
    databases.retire([made])


def night(url: str, *words: str, **environment: str) -> Ran:
    """The run of the last day that has usage, or of 21 June."""
    last = ask(url, "SELECT greatest(max(date), '2026-06-21') AS day FROM usage_daily")[0]["day"]
    return usage_jobs("run", *words, url=url, today=last + timedelta(days=1), **environment)


def figures(url: str) -> tuple[Decimal, Decimal]:
    (row,) = ask(url, FIGURES)
    return row["cost"], row["draws"]


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_until_a_person_has_looked(url: str, case: str) -> None:
    change, words, larger, after = CASES[case]
    tokens: list[str] = []
    for text in (change, larger):
        for part in text.split("; "):
            ask(url, part)
        before = contents(url, but=["rollup.runs"])
        tried = night(url, "--dry-run", *tokens)
        refused = night(url, *tokens)
        assert (tried.code, refused.code) == (5, 5), refused.err
        assert contents(url, but=["rollup.runs"]) == before
        assert allowing(tried.err) == allowing(refused.err), "a dry run says the same"
        if text == change:
            assert not [word for word in words if word not in refused.err], refused.err
        tokens = allowing(refused.err)  # those of the first refusal do not let the larger change pass
    assert night(url, *tokens).code in (0, 3)
    assert figures(url) == tuple(map(Decimal, after))
    closed = ask(url, "SELECT closed_at IS NOT NULL AS closed FROM rollup.months WHERE month = '2026-06-01'")
    assert closed[0]["closed"] is case.endswith("at the close")
    assert night(url).code in (0, 3), "what has passed once is what is covered now"


BATCHES = {"USAGE_JOBS_BATCH_ROWS": "100"}
"""A batch has one or two of the users."""
AFTER_THE_CHECK = {
    # A change, and who is read again, alone. Another account needs no other rows.
    "usage": ("UPDATE usage_daily SET cpu_hours = 52 WHERE user_id = 'u03' AND date = '2026-06-18'", [["u03"]]),
    "purchase": ("UPDATE user_credits SET total_purchased = total_purchased + 2 WHERE user_id = 'u03'", []),
    "no account": ("DELETE FROM user_credits WHERE user_id = 'u08'", []),
    "foreign write": (
        "UPDATE usage_daily SET credits_deducted = 7 WHERE user_id = 'u08' AND date = '2026-06-19'",
        [["u08"]],
    ),
}


@pytest.mark.parametrize("act", AFTER_THE_CHECK)
def test_what_changes_between_the_check_and_the_batch_is_computed_anew(
    url: str, databases: Databases, act: str
) -> None:
    prepare = run._Run._prepare

    def acted(self: run._Run) -> object:
        ask(url, text)
        return prepare(self)

    text, users_read_again = AFTER_THE_CHECK[act]
    ask(url, "UPDATE usage_daily SET cpu_hours = 51 WHERE user_id IN ('u03', 'u08') AND date = '2026-06-19'")
    before = copied(databases, url)
    ask(before, text)
    expected = night(before, "--full").code
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run._Run, "_prepare", acted)
        reads = heard(patch)
        assert night(url).code == expected
    assert reads == [["u03", "u08", "u12"], *users_read_again], "u12 has a price of the new day"
    assert not differences(outcome(before, MAY, DAY), outcome(url, MAY, DAY))
    databases.retire([before])


def heard(patch: pytest.MonkeyPatch) -> list[list[str]]:
    """The users of each reading from now on."""
    reads: list[list[str]] = []
    read_input = batch_reading.read_input

    def reading(connection: object, reader: object, scope: object, users: list[str], run_id: object) -> object:
        reads.append(sorted(users))
        return read_input(connection, reader, scope, users, run_id)  # type: ignore[arg-type]

    patch.setattr(batches, "read_input", reading)
    return reads


@pytest.mark.thorough
def test_a_batch_whose_commit_was_not_answered_is_read_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write, lost = BatchRunner.run, ["the first"]

    def answered(self: BatchRunner, *arguments: Any) -> object:
        result = write(self, *arguments)
        if lost:
            raise psycopg.OperationalError(f"{lost.pop()} answer is lost")
        return result

    monkeypatch.setattr(BatchRunner, "run", answered)
    ask(url, "UPDATE users SET billing_mode = 'postpaid'")
    ask(url, "UPDATE usage_daily SET cpu_hours = 51 WHERE user_id = 'u03' AND date = '2026-06-19'")
    ask(url, USAGE.format("2026-06-21", "2026-06-21"))
    assert night(url).code == 0
    assert lost == []
    again = json.loads(night(url, "--full", "--json").out)
    assert again["rows_changed"] == 0, again
    assert usage_jobs("reconcile", url=url).code == 0


def test_one_batch_is_read_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = heard(monkeypatch)
    ask(url, USAGE.format("2026-06-21", "2026-06-21"))
    ask(url, "UPDATE usage_daily SET cpu_hours = 51 WHERE user_id = 'u03' AND date = '2026-06-19'")
    assert night(url).code == 0
    assert reads == [[f"u{n:02}" for n in range(1, 13)]]


@pytest.mark.thorough
def test_of_many_batches_who_only_has_a_new_day_is_not_computed_twice(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    computed, compute = [], BatchRunner.compute

    def heard(self: BatchRunner, connection: psycopg.Connection, users: list[str]) -> object:
        computed.extend(users)
        return compute(self, connection, users)

    monkeypatch.setattr(BatchRunner, "compute", heard)
    ask(url, USAGE.format("2026-06-21", "2026-06-21"))
    ask(url, "UPDATE users SET billing_mode = 'postpaid' WHERE id = 'u07'")
    insert = "INSERT INTO user_pricing_overrides (user_id, resource_type, override_price, valid_from) VALUES"
    ask(url, f"{insert} ('u08', 'cpu_hours', 0.02, '2026-06-21')")
    configured(tmp_path, rates=f"{RATES}cpu_hours,2026-06-21,0,0.11,1,new\n")
    assert night(url, **BATCHES).code == 0
    assert computed == [], "each of these begins with the new day"
    ask(url, "UPDATE usage_daily SET cpu_hours = 51 WHERE user_id = 'u03' AND date = '2026-06-19'")
    ask(url, f"{insert} ('u09', 'cpu_hours', 0.02, '2026-06-20')")
    ask(url, "UPDATE user_credits SET total_purchased = total_purchased + 1 WHERE user_id = 'u10'")
    ask(url, USAGE.format("2026-06-22", "2026-06-22"))
    assert night(url, **BATCHES).code == 0
    assert computed == ["u03", "u09", "u10"]


@pytest.mark.thorough
def test_a_backfill_is_let_pass_by_the_token_or_by_the_plan_that_it_shows(url: str) -> None:
    ask(url, "UPDATE usage_daily SET cpu_hours = cpu_hours * 2 WHERE date < '2026-06-01'")
    words = ("backfill", "--from", "2026-05-01", "--to", "2026-05-31", "--reason", "it was half", "--json")

    def backfill(*more: str) -> Ran:
        return usage_jobs(*words, *more, url=url)

    before = contents(url, but=["rollup.runs"])
    shown = backfill("--dry-run")
    assert shown.code == 0, "it is what a person looks at"
    everybody = [word for number in range(1, 13) for word in ("--user", f"u{number:02}")]
    for refused in (backfill("--yes"), backfill("--yes", *everybody)):
        assert refused.code == 5
        assert "2026-05: the cost of covered days would go from 2,635.00 to 5,270.00" in refused.err
    assert contents(url, but=["rollup.runs"]) == before
    assert backfill("--plan", shown.object["plan"]["hash"]).code == 0
    cost = "SELECT sum(total_cost) AS cost FROM rollup.user_monthly WHERE month = '2026-05-01'"
    assert ask(url, cost) == [{"cost": Decimal(5270)}]
    ask(url, "UPDATE usage_daily SET cpu_hours = cpu_hours / 2 WHERE date < '2026-06-01'")
    assert backfill("--yes", *allowing(backfill("--yes").err)).code == 0
    assert ask(url, cost) == [{"cost": Decimal(2635)}]


def test_a_month_that_no_run_has_covered_may_cost_anything(url: str) -> None:
    """Its days lie before the covered ones; nothing of it stands yet that could change."""
    ask(url, USAGE.format("2026-04-01", "2026-04-30"))
    words = ("backfill", "--from", "2026-04-01", "--to", "2026-04-30", "--reason", "it came late", "--yes")
    assert usage_jobs(*words, url=url).code == 0
    cost = "SELECT sum(total_cost) AS cost FROM rollup.user_monthly WHERE month = '2026-04-01'"
    assert ask(url, cost) == [{"cost": Decimal(2550)}]


def test_draws_of_new_days_are_no_change_of_covered_ones(url: str) -> None:
    ask(url, "UPDATE usage_daily SET cpu_hours = cpu_hours + 1 WHERE date = '2026-06-20'")
    ask(url, USAGE.format("2026-06-21", "2026-06-30"))
    ask(url, "UPDATE usage_daily SET cpu_hours = 150 WHERE date > '2026-06-20'")
    assert night(url, "--dry-run").code == 0


def test_another_currency_is_no_measure(url: str) -> None:
    ask(url, "UPDATE usage_daily SET cpu_hours = 200 WHERE user_id = 'u07' AND date >= '2026-06-01'")
    assert night(url, "--dry-run").code == 0, "300 more than 1,167 are less than a fifth of 2,635"
    ask(url, "UPDATE rollup.months SET currency = 'EUR' WHERE month = '2026-05-01'")
    refused = night(url, "--dry-run")
    assert (refused.code, "1,467.20 (300.00 more; in 2026-06 it was 1,167.20); by" in refused.err) == (5, True)
    ask(url, "UPDATE rollup.months SET currency = 'EUR' WHERE month = '2026-06-01'")
    ask(url, "INSERT INTO usage_daily (user_id, date, cpu_hours) VALUES ('u01', '2026-07-01', 30000)")
    assert night(url, "--dry-run").code == 0, "the days before the first of July were paid in euros"


def test_a_price_on_covered_days_is_refused(url: str, tmp_path: Path) -> None:
    """With what it comes to, and those whom it concerns; whoever has a price of his own is none of them."""
    configured(tmp_path, rates=RATES.replace("cpu_hours,2020-01-01,0,0.10", "cpu_hours,2020-01-01,0,0.20"))
    before, refused = contents(url, but=["rollup.runs"]), night(url)
    assert (refused.code, contents(url, but=["rollup.runs"])) == (5, before)
    assert "2026-06: the cost of covered days would go from 1,167.20 to 2,267.20 (1,100.00 more;" in refused.err
    assert "by price of 11 users (1,100.00 more), most of it: u01 (100.00 more), u02 (" in refused.err


@pytest.mark.thorough
def test_a_new_day_is_not_judged_before_there_are_seven(ready: str) -> None:
    ask(ready, "INSERT INTO users (id) VALUES ('ada')")
    for day in range(1, 9):
        hours = 50_000 if day >= 7 else 10
        ask(ready, f"INSERT INTO usage_daily (user_id, date, cpu_hours) VALUES ('ada', '2026-06-0{day}', {hours})")
        ran = usage_jobs("run", url=ready, today=date(2026, 6, day + 1))
        assert ran.code == (5 if day == 8 else 0), (day, ran.err)
    assert "2026-06-08: the new day would cost 5,000.00, more than 5 times the 715.14 that the 7 days" in ran.err


def test_small_worlds_and_ordinary_changes_pass(ready: str) -> None:
    """A first run, of whatever size; and what changes everything, but by no more than 100."""
    ask(ready, "INSERT INTO users (id) VALUES ('ada')")
    ask(ready, "INSERT INTO usage_daily (user_id, date, cpu_hours) VALUES ('ada', '2026-06-19', 10000)")
    assert usage_jobs("run", url=ready, today=DAY).code == 0
    ask(ready, "UPDATE usage_daily SET cpu_hours = 9000")
    assert usage_jobs("run", url=ready, today=DAY).code == 0
    ask(ready, "UPDATE usage_daily SET cpu_hours = 10001")
    refused = usage_jobs("run", url=ready, today=DAY)
    assert (refused.code, "100.10 more" in refused.err) == (0, False), "100 more than 900 is less than a fifth"
