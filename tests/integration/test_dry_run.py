"""A dry run says what the run then does, to the last figure; the plan of a backfill is what it then writes."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from commands import ask, contents, usage_jobs
from prepaid import june, night, others, prepaid, reprice, row, user

VOLATILE = {"run_id", "seconds", "dry_run"}
NORTH, SOUTH = UUID(int=0xA1), UUID(int=0xA2)


def both(url: str, tmp_path: Path, *options: str, code: int = 0, **more: Any) -> dict[str, Any]:
    """What a dry run and then the run report, which must be the same; with the users who ran out of credit."""
    files = [tmp_path / name for name in ("dry.csv", "run.csv")]
    before = contents(url)
    dry = night(url, "--dry-run", "--ran-out", str(files[0]), *options, code=code, **more)
    assert contents(url) == before
    run = night(url, "--ran-out", str(files[1]), *options, code=code, **more)
    dry, run = ({name: value for name, value in found.items() if name not in VOLATILE} for found in (dry, run))
    assert dry == run
    assert files[0].read_text() == files[1].read_text()
    return run | {"ran out": files[1].read_text().splitlines()[1:]}


@pytest.fixture
def three(ready: str) -> str:
    """Ada and eve, prepaid, and bob, who is due, with usage on the 18th and 19th that a run has covered."""
    for name in ("ada", "eve"):
        prepaid(ready, name, granted="0.50", purchased="1")
    user(ready, "bob", mode="postpaid")
    for number, (name, cluster) in enumerate((("ada", NORTH), ("eve", SOUTH), ("bob", NORTH)), start=1):
        for day in (18, 19):
            row(ready, 10 * number + day, "0.30", june(day), user_id=name, hopsworks_cluster_id=cluster)
    night(ready)
    return ready


def test_a_night_of_everything(three: str, tmp_path: Path) -> None:
    """Draws, corrections, users who run out, another billing mode, a mover, a row that is deleted, a new user."""
    reprice(three, 28, "0.10")
    row(three, 1, "5", june(20), user_id="ada", hopsworks_cluster_id=SOUTH)
    row(three, 2, "2", june(20), user_id="new", hopsworks_cluster_id=SOUTH)
    ask(three, "UPDATE users SET billing_mode = 'prepaid' WHERE id = 'bob'")
    ask(three, "DELETE FROM usage_daily WHERE id = %s", UUID(int=49))
    ask(three, "UPDATE usage_daily SET user_id = 'bob' WHERE id = %s", UUID(int=38))
    others(three, "eve", granted="0.30")
    found = both(three, tmp_path, code=0)
    assert (found["ran out"], found["credits"]["users_ran_out"]) == (["ada,2026-06-01,3.9000000000"], 1)
    assert both(three, tmp_path)["rows_changed"] == 0


def test_a_month_that_closes_and_one_that_waits(three: str, tmp_path: Path) -> None:
    july = june(30).replace(month=7, day=5)
    row(three, 1, "0.20", june(20), user_id="bob", credits_deducted="0.20")
    waits = both(three, tmp_path, code=6, today=july)
    assert (waits["closed"], waits["unsettled"]) == ([], ["2026-06-01"])
    ask(three, "UPDATE user_credits SET total_used = 'NaN' WHERE user_id = 'ada'")
    waits = both(three, tmp_path, "--trust-ledger", "bob", code=3, today=july)
    assert (waits["closed"], waits["unsettled"]) == ([], ["2026-06-01"])
    ask(three, "UPDATE user_credits SET total_used = 0.10 WHERE user_id = 'ada'")
    assert both(three, tmp_path, today=july)["closed"] == ["2026-06-01"]


def test_adoption(ready: str, tmp_path: Path) -> None:
    """Another program has drawn on ada's row since a run without accounts; bob's rows are as that run left them."""
    for name in ("ada", "bob"):
        prepaid(ready, name, granted="0.50", purchased="1")
    row(ready, 1, "0.30", june(18), credits_deducted="0.30")
    row(ready, 2, "0.30", june(18), user_id="bob")
    ask(ready, "ALTER TABLE user_credits RENAME TO accounts_of_later")
    assert night(ready)["credits"]["users_drawn"] == 0
    ask(ready, "ALTER TABLE accounts_of_later RENAME TO user_credits")
    others(ready, type_="usage", used="0.30")
    found = both(ready, tmp_path)
    assert (found["users_recomputed"], found["credits"]["users_drawn"]) == (2, 2)
    assert found["credits"]["credits_deducted"] == "0.6000000000"


@pytest.mark.parametrize("change", ["a new user", "a cluster of two users loses one", "billing modes"])
def test_a_plan_is_what_the_backfill_writes(three: str, change: str) -> None:
    """The plan covers cluster tables with their users, and billing modes of users in a batch and of others."""
    if change == "a new user":
        row(three, 1, "2", june(18), user_id="new", hopsworks_cluster_id=SOUTH)
    elif change == "billing modes":
        user(three, "idle", mode="prepaid")
        ask(three, "UPDATE users SET billing_mode = 'prepaid' WHERE id = 'bob'")
        row(three, 1, "2", june(21), user_id="bob")
    else:
        ask(three, "DELETE FROM usage_daily WHERE user_id = 'bob'")
    words = ("backfill", "--from", "2026-06-01", "--to", "2026-06-21", "--json")
    plan = usage_jobs(*words, "--dry-run", url=three, today=june(22)).object
    done = usage_jobs(*words, "--plan", plan["plan"]["hash"], url=three, today=june(22))
    assert (done.code, done.object["changed"]) == (0, plan["changed"]), done.err
    assert plan["rows_changed"] > 0


@pytest.mark.thorough
def test_a_plan_within_limits_lists_no_unchanged_account(three: str) -> None:
    """Ada and eve are in one batch; only ada's account changes."""
    reprice(three, 28, "0.60")
    words = ("backfill", "--from", "2026-06-01", "--to", "2026-06-20", "--full", "--user", "ada", "--json")
    done = usage_jobs(*words, "--cluster", str(NORTH), url=three)
    assert done.code == 0, done.err
