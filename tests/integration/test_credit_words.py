"""What a person or a program is told of credits: the summary, --json, --ran-out and explain."""

import csv
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from commands import applied, ask, usage_jobs
from prepaid import JUNE, june, night, others, paid, prepaid, reprice, row, user

EXPLAIN = ("explain", "--user", "ada", "--month", "2026-06")
KINDS = ("free", "purchased", "uncovered", "amount_due", "amount_reported")


@pytest.fixture
def told(ready: str) -> str:
    """Ready for a run: ada draws 0.10 free and 0.20 purchased, and lacks 0.30; bob draws 0.20; eve owes 0.40."""
    prepaid(ready, granted="0.10", purchased="0.20")
    prepaid(ready, "bob", purchased="1.00")
    user(ready, "eve", "postpaid")
    row(ready, 1, "0.20", june(19))
    row(ready, 2, "0.40", june(20))
    row(ready, 3, "0.20", june(20), user_id="bob")
    row(ready, 4, "0.40", june(20), user_id="eve")
    return ready


def credits(report: dict[str, Any]) -> dict[str, Any]:
    """The figures of --json, amounts as numbers."""

    def number(value: Any) -> Any:
        return Decimal(value) if isinstance(value, str) else value

    return {
        name: {key: number(one) for key, one in value.items()} if isinstance(value, dict) else number(value)
        for name, value in report["credits"].items()
        if name != "rest_because"
    }


def test_json_of_draws(told: str) -> None:
    """All amounts travel as text, so that no reader makes floats of them."""
    report = night(told)
    assert isinstance(report["credits"]["free"], str)
    found = credits(report)
    expected = {
        "users_drawn": 2,
        "free": Decimal("0.10"),
        "purchased": Decimal("0.40"),
        "credits_deducted": Decimal("0.50"),
        "uncovered": Decimal("0.30"),
        "users_ran_out": 1,
        "amount_due": Decimal("0.40"),
        "amount_reported": 0,
    }
    assert {name: found[name] for name in expected} == expected
    for kind in ("taken", "given_back"):
        assert found[kind] == {"rows": 0, "amount": 0}


def test_json_of_corrections(told: str) -> None:
    """ada's row 1 takes 0.10 more, so row 2 gives that back; bob's gives 0.15 back. Then there is nothing to book."""
    night(told)
    reprice(told, 1, "0.30")
    reprice(told, 3, "0.05")
    found = credits(night(told))
    assert (found["users_drawn"], found["free"], found["purchased"]) == (2, 0, Decimal("-0.15"))
    assert found["taken"] == {"rows": 1, "amount": Decimal("0.10")}
    assert found["given_back"] == {"rows": 2, "amount": Decimal("0.25")}
    assert (found["credits_deducted"], found["uncovered"]) == (Decimal("0.35"), Decimal("0.40"))
    again = credits(night(told))
    assert (again["users_drawn"], again["free"], again["purchased"]) == (0, 0, 0)
    assert again["taken"] == again["given_back"] == {"rows": 0, "amount": 0}
    assert (again["credits_deducted"], again["users_ran_out"]) == (Decimal("0.35"), 1)


def test_the_summary(told: str) -> None:
    first = usage_jobs("run", url=told)
    assert "0.50 USD (of 2 users: 0.10 free, 0.40 purchased)" in " ".join(first.out.split())
    assert re.search(r"uncovered +0\.30 USD \(1 user ran out of credit\)", first.out)
    assert re.search(r"due +0\.40", first.out)
    reprice(told, 1, "0.30")
    reprice(told, 3, "0.05")
    second = usage_jobs("run", url=told)
    assert "corrections 0.10 more on 1 row, 0.25 given back on 2 rows" in " ".join(second.out.split())
    assert max(map(len, (first.out + second.out).splitlines())) <= 80
    assert "ada" not in first.out + first.err + second.out + second.err, "users are named in the file only"


@pytest.mark.parametrize(
    ("start", "rest"),
    [("2026-05-01", {}), ("2026-06-20", {"prepaid before 2026-06-20": Decimal("0.20")})],
)
@pytest.mark.parametrize("command", [("run", "--dry-run"), ("run",)])
def test_the_summary_adds_up_for_every_billing_mode(
    told: str, command: tuple[str, ...], start: str, rest: dict[str, Decimal]
) -> None:
    """Something is left over of each way to pay; a free user, and a row of a postpaid one that was invoiced."""
    ask(told, "ALTER TABLE usage_daily ADD COLUMN reported_to_stripe boolean")
    ask(told, "ALTER TABLE users DROP CONSTRAINT users_billing_mode_check")  # that of newer databases allows free
    user(told, "fay", "free")
    row(told, 5, "0.7033", june(20), user_id="fay")
    row(told, 6, "0.4033", june(20), user_id="eve", reported_to_stripe=True)
    row(told, 7, "0.0067", june(20), user_id="bob")
    ran = usage_jobs(*command, url=told, USAGE_JOBS_CREDITS__START=start)
    assert ran.code == 0, ran.err
    block = re.search(r"total cost +([\d.]+) USD *\n((?: +- .*\n)+)", ran.out)
    assert block, ran.out
    parts = {word: Decimal(part) for word, part in re.findall(r"- (.+?)  +(-?[\d.]+) USD", block[2])}
    assert sum(parts.values()) == Decimal(block[1]) == Decimal("2.31"), "of 2.3133 with two decimals"
    assert {"drawn", "uncovered", "due", "reported elsewhere", "free of charge", *rest} == parts.keys()
    assert parts.items() >= {"free of charge": Decimal("0.70"), **rest}.items()
    report = usage_jobs("run", "--json", url=told, USAGE_JOBS_CREDITS__START=start).object
    kinds = ("credits_deducted", "uncovered", "amount_due", "amount_reported", "amount_free", "rest")
    assert sum(Decimal(report["credits"][kind]) for kind in kinds) == Decimal(report["total_cost"])


def test_nobody_prepaid_no_word_of_credits(database: str) -> None:
    user(applied(database), "eve", "postpaid")
    row(database, 1, "0.40", user_id="eve")
    ran = usage_jobs("run", url=database)
    assert (ran.code, "credits posted" in ran.out, "uncovered" in ran.out) == (0, False, False)


def test_who_ran_out(told: str, tmp_path: Path) -> None:
    """One line a user and month, in a file that exists then even where nobody ran out."""
    path = tmp_path / "out.csv"
    night(told, "--ran-out", str(path))
    with path.open(encoding="utf-8", newline="") as file:
        [line] = csv.DictReader(file)
    assert (line["user_id"], line["month"], Decimal(line["uncovered"])) == ("ada", str(JUNE), Decimal("0.30"))
    others(told, purchased="5")
    night(told, "--ran-out", str(path))
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == []


@pytest.mark.parametrize("before", [None, 0o644])
def test_who_ran_out_is_for_the_owner_alone(told: str, tmp_path: Path, before: int | None) -> None:
    path = tmp_path / "out.csv"
    if before is not None:
        path.touch(before)
    night(told, "--ran-out", str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["out.csv"]


# explain


def explained(url: str) -> dict[str, Any]:
    ran = usage_jobs(*EXPLAIN, "--json", url=url)
    assert ran.code == 0, ran.err
    return ran.object


def test_explain_shows_each_draw_by_kind(told: str) -> None:
    night(told)
    lines = explained(told)["lines"]
    assert [(line["day"], line["paid"]["mode"]) for line in lines] == [
        ("2026-06-19", "prepaid"),
        ("2026-06-20", "prepaid"),
    ]
    figures = [tuple(Decimal(line["paid"][kind]) for kind in KINDS) for line in lines]
    expected = [("0.10", "0.10", "0", "0", "0"), ("0", "0.10", "0.30", "0", "0")]
    assert figures == [tuple(map(Decimal, line)) for line in expected]


def test_explain_agrees_after_corrections(told: str) -> None:
    """What counts is what the ledger comes to, not its single entries."""
    night(told)
    for number, cost in ((1, "0.05"), (2, "0.02"), (1, "0.30")):
        reprice(told, number, cost)
        night(told)
    found = explained(told)
    assert found["agrees"] is True
    held = paid(told)
    assert held["credits_deducted"] == Decimal("0.30"), "row 1 takes all: row 2 is left with nothing"
    for kind, column in (("free", "credits_free"), ("purchased", "credits_purchased"), ("uncovered", "uncovered")):
        total = sum(Decimal(line["paid"][kind]) for line in found["lines"])
        assert total == Decimal(found["sums"][column]) == held[column], kind
    assert found["sums"] == found["rollup"]


def test_explain_for_a_person(told: str) -> None:
    night(told)
    text = usage_jobs(*EXPLAIN, url=told).out
    for line in (
        "0.10  drawn from free credit",
        "0.10  drawn from purchased credit",
        "0.30  uncovered: no credit left",
    ):
        assert f"\n  {line}\n" in text
    for name in ("credits_free", "credits_purchased", "credits_deducted", "uncovered"):
        assert re.search(rf"{name} .*equal", text), name
    due = usage_jobs("explain", "--user", "eve", "--month", "2026-06", url=told).out
    assert "\n  0.40  due (postpaid)\n" in due
