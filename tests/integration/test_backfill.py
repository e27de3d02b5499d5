"""`usage-jobs backfill`: windows, question, plan, limits, and what stays of it in rollup.corrections; and `watch`."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from commands import Ran, applied, ask, insert, mapped, usage_jobs
from holding import holding
from prepaid import amounts, drawn, others, prepaid, reprice, row
from server_day import server_day
from ways import job_url

from jobs.domain.backfill_request import Backfill
from jobs.domain.errors import PlanMismatchError
from jobs.domain.run_report import Report
from jobs.pipeline import run
from jobs.pipeline.run import run_job
from jobs.pipeline.run_request import RunRequest
from jobs.postgres.conninfo import Address
from jobs.settings import load

TODAY = date(2026, 6, 21)
APRIL = ("--from", "2026-04-10", "--to", "2026-04-12")
START = {"USAGE_JOBS_START": "2026-04"}
PAYS = ("credits_deducted", "uncovered", "amount_due", "amount_reported")
LEDGER = ("months", "credit_draws", "billing_modes")
SWAP = "UPDATE usage_daily SET user_id = CASE user_id WHEN 'ada' THEN 'ben' ELSE 'ada' END WHERE date = '2026-04-10'"


def backfill(url: str, *arguments: str, code: int = 0) -> Ran:
    ran = usage_jobs("backfill", *arguments, url=url, today=TODAY, **START)
    assert ran.code == code, ran.out + ran.err
    return ran


def done(url: str, *arguments: str, code: int = 0) -> dict[str, Any]:
    return backfill(url, *arguments, "--reason", "late", "--yes", "--json", code=code).object


def prepare_closed(url: str) -> None:
    prepaid(url, "ada", purchased="100")
    for number, (user, cost) in enumerate((("ada", "1"), ("ben", "2"))):
        for month in (4, 5, 6):
            row(url, 10 * month + number, cost, date(2026, month, 10), user_id=user)
    assert usage_jobs("run", url=url, today=TODAY, **START).code == 0


@pytest.fixture
def closed(make_prepared: Callable[[Callable[[str], object]], str]) -> str:
    """April and May are closed, June is open; ada costs 1 a month, ben 2."""
    return make_prepared(prepare_closed)


def corrections(url: str) -> list[tuple[Any, ...]]:
    found = ask(url, "SELECT * FROM rollup.corrections ORDER BY run_id, month, user_id")
    return [
        (f"{row['month']:%m}", row["user_id"], row["old_total"], row["new_total"], row["cause"], row["reason"])
        for row in found
    ]


@pytest.mark.thorough
def test_a_closed_month_is_corrected_and_says_so(closed: str) -> None:
    reprice(closed, 40, "1.5")
    report = done(closed, *APRIL)
    assert (report["kind"], report["window_from"], report["window_to"]) == ("backfill", "2026-04-01", "2026-04-30")
    assert corrections(closed) == [("04", "ada", 1, Decimal("1.5"), "usage", "late")]
    assert drawn(closed)[40] == amounts("0", "1.5")
    revisions = ask(closed, "SELECT month, user_id FROM rollup.user_monthly WHERE revision = 2")
    assert [(f"{row['month']:%m}", row["user_id"]) for row in revisions] == [("04", "ada")]
    assert done(closed, *APRIL)["rows_changed"] == 0
    assert len(corrections(closed)) == 1
    runs = usage_jobs("runs", "--json", url=closed, today=TODAY).object["runs"]
    assert [run["reason"] for run in runs] == ["late", "late", None]


def test_explain_of_a_closed_month_shows_what_was_posted_and_what_it_would_be(closed: str) -> None:
    asked = ("explain", "--user", "ada", "--month", "2026-04")

    def sums() -> tuple[str, list[str]]:
        ran = usage_jobs(*asked, url=closed, today=TODAY, **START)
        assert ran.code == 0, ran.err
        lines = ran.out.splitlines()
        assert max(map(len, lines)) <= 80
        [line] = [line for line in lines if line.startswith("total_cost ")]
        return " ".join(ran.out.split()), line.split()[1:]

    text, line = sums()
    assert (line, "The month is closed" in text) == (["1.00", "equal"], False)
    reprice(closed, 40, "1.5")
    text, line = sums()
    assert line == ["1.00", "1.50", "DIFFERS"]
    assert "its stored cost of 1.00 does not change. With usage, prices and overrides as they are now" in text
    assert "the cost would be 1.50" in text
    assert "2026-04-10, no cluster: 1.00 is stored, 1.50 now" in text
    told = usage_jobs(*asked, "--json", url=closed, today=TODAY, **START).object
    assert (told["closed"], told["agrees"]) == (True, False)
    assert [Decimal(figures["total_cost"]) for figures in (told["rollup"], told["sums"])] == [1, Decimal("1.5")]
    done(closed, *APRIL)
    assert sums()[1] == ["1.50", "equal"]


@pytest.mark.thorough
def test_a_price_is_a_cause_only_for_users_of_its_meter(closed: str, tmp_path: Path) -> None:
    """A dearer gpu in April: ada has used it, ben has not, and cy, of whom nothing else changes, neither."""
    row(closed, 42, "1", date(2026, 4, 11), user_id="ada", gpu_hours=1)
    row(closed, 43, "1", date(2026, 4, 11), user_id="cy")
    done(closed, *APRIL)
    before = len(corrections(closed))
    shipped = (Path(__file__).parents[2] / "config" / "rates.csv").read_text(encoding="utf-8")
    rates = tmp_path / "rates.csv"
    rates.write_text(
        f"{shipped}gpu_hours,2026-04-02,0,9,1,dearer\ngpu_hours,2026-05-01,0,0.5,1,list\n", encoding="utf-8"
    )
    given = {**START, "USAGE_JOBS_RATES": str(rates)}
    reprice(closed, 41, "3")
    [april, _] = usage_jobs("watch", "--json", url=closed, today=TODAY, **given).object["months"]
    assert april["causes"] == {"price": 1, "usage": 1}
    again = ("backfill", *APRIL, "--reason", "dearer", "--yes", "--json")
    changes = usage_jobs(*again, url=closed, today=TODAY, **given).object["plan"]["changes"]
    assert {change["user_id"]: change["cause"] for change in changes} == {"ada": "price", "ben": "usage"}
    assert [(user, cause) for _, user, _, _, cause, _ in corrections(closed)[before:]] == [
        ("ada", "price"),
        ("ben", "usage"),
    ]
    assert usage_jobs(*again, url=closed, today=TODAY, **given).object["rows_changed"] == 0
    assert usage_jobs("reconcile", "--from", "2026-04-01", url=closed, today=TODAY, **given).code == 0


def test_a_row_that_came_too_late_and_one_that_went(closed: str) -> None:
    row(closed, 99, "4", date(2026, 4, 30), user_id="cy")
    ask(closed, "DELETE FROM usage_daily WHERE id = %s", UUID(int=41))
    done(closed, *APRIL)
    assert corrections(closed) == [("04", "ben", 2, 0, "usage", "late"), ("04", "cy", 0, 4, "usage", "late")]


def test_hashes_alone_make_no_correction(closed: str) -> None:
    """A price of a meter that the user has not used, and a row that was inserted anew under another id."""
    ask(closed, "UPDATE usage_daily SET id = %s WHERE id = %s", UUID(int=49), UUID(int=41))
    override = {"id": UUID(int=1), "user_id": "ada", "resource_type": "gpu_hours", "override_price": 9}
    insert(closed, "user_pricing_overrides", **override, valid_from=date(2026, 4, 1))
    report = done(closed, *APRIL)
    assert report["changed"]["user_monthly"] == 2
    assert (report["changed"]["corrections"], report["plan"]["changes"], corrections(closed)) == (0, [], [])


@pytest.mark.thorough
def test_credit_bought_later_settles_what_was_uncovered(database: str) -> None:
    applied(database)
    prepaid(database, "ada", purchased="1")
    row(database, 1, "3", date(2026, 4, 10))
    row(database, 2, "3", date(2026, 6, 10))
    assert usage_jobs("run", url=database, today=TODAY, **START).code == 0
    others(database, "ada", purchased="4")
    done(database, *APRIL)
    assert corrections(database) == [("04", "ada", 3, 3, "credit", "late")]
    [paid] = ask(database, "SELECT * FROM rollup.corrections")
    assert [paid[f"{when}_{name}"] for name in PAYS for when in ("old", "new")] == [1, 3, 2, 0, 0, 0, 0, 0]
    assert drawn(database) == {1: amounts("0", "3")}
    assert usage_jobs("run", url=database, today=TODAY, **START).code == 0
    assert drawn(database) == {1: amounts("0", "3"), 2: amounts("0", "2")}


def test_what_is_refused_before_anything_is_read(closed: str) -> None:
    wrong = {
        ("--from", "2026-04-10", "--to", "2026-04-09"): "--to 2026-04-09: expected a day on or after --from 2026-04-10",
        ("--from", "2026-06-10", "--to", "2026-06-21"): "--to 2026-06-21: expected yesterday (2026-06-20 UTC)",
        APRIL: "--reason: expected why closed months (2026-04) are to change",
        (*APRIL, "--plan", "abc"): "'abc' is not a plan's hash; expected the 24 characters of --dry-run",
        (*APRIL, "--cluster", "eu"): "'eu' is not a cluster's id; expected a uuid, or none",
        ("--from", "2026-04-10"): "the following arguments are required: --to",
    }
    for arguments, words in wrong.items():
        assert words in backfill(closed, *arguments, code=2).err
    assert len(ask(closed, "SELECT run_id FROM rollup.runs")) == 1


def test_open_months_need_no_reason_and_no_question(closed: str) -> None:
    reprice(closed, 60, "2")
    assert backfill(closed, "--from", "2026-06-01", "--to", "2026-06-02").code == 0
    assert corrections(closed) == []
    assert drawn(closed)[60] == amounts("0", "2")
    assert ask(closed, "SELECT DISTINCT revision FROM rollup.user_monthly") == [{"revision": 1}]


def test_an_open_month_brings_all_open_ones(closed: str) -> None:
    report = done(closed, "--from", "2026-04-30", "--to", "2026-06-01")
    assert (report["window_from"], report["window_to"]) == ("2026-04-01", "2026-06-20")
    assert [month["closed"] for month in report["plan"]["months"]] == [True, True, False]


@pytest.mark.thorough
def test_a_month_before_the_start_is_rolled_up_by_a_backfill_alone(closed: str) -> None:
    row(closed, 31, "5", date(2026, 3, 10), user_id="ben")
    done(closed, "--from", "2026-03-01", "--to", "2026-03-31")
    assert corrections(closed) == [("03", "ben", 0, 5, "usage", "late")]
    months = ask(closed, "SELECT month FROM rollup.months WHERE closed_at IS NULL ORDER BY 1")
    assert [f"{row['month']:%m}" for row in months] == ["03", "06"]
    night = usage_jobs("run", "--json", url=closed, today=TODAY, **START).object
    assert (night["window_from"], night["rows_changed"]) == ("2026-06-01", 0)


@pytest.mark.thorough
def test_a_backfill_of_all_open_months_is_a_nightly_run(make_database: Callable[..., str]) -> None:
    nightly, filled = make_database(), make_database()
    for url in (nightly, filled):
        applied(url)
        prepaid(url, "ada", purchased="3", granted="1")
        for number in range(1, 40):
            row(url, number, f"0.{number:02}", date(2026, 5 + number % 2, 1 + number % 20))
    assert usage_jobs("run", url=nightly, today=TODAY, USAGE_JOBS_START="2026-05").code == 0
    ran = usage_jobs("backfill", "--from", "2026-06-01", "--to", "2026-06-01", url=filled, today=TODAY,
                     USAGE_JOBS_START="2026-05")  # fmt: skip
    assert ran.code == 0, ran.err
    for table in ("user_daily", "user_monthly", "cluster_daily", "cluster_monthly", *LEDGER):
        moments = "'{run_id,updated_at,closed_at,posted_at}'::text[]"
        text = f"SELECT (to_jsonb(t) - {moments})::text AS row FROM rollup.{table} AS t ORDER BY 1"
        assert ask(nightly, text) == ask(filled, text), table


# The question


def test_without_a_terminal_nothing_of_a_closed_month_is_written(closed: str) -> None:
    reprice(closed, 40, "1.5")
    refused = backfill(closed, *APRIL, "--reason", "late", code=2)
    assert "closed months (2026-04) would change: expected --yes, or --plan" in refused.err
    assert corrections(closed) == []


@pytest.mark.thorough
@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("no", 2), ("", 2), ("\x04", 2), ("\x03", 130)])
def test_at_a_terminal_it_asks(closed: str, answer: str, code: int) -> None:
    reprice(closed, 40, "1.5")
    screen, keyboard = pty.openpty()
    words = ["backfill", *APRIL, "--reason", "late"]
    start = (
        # Who leads a session and opens a terminal is the one that its Ctrl-C is for.
        "import os, sys; os.open(os.ttyname(0), os.O_RDWR);"
        "from datetime import date; from jobs.cli import main; from jobs.postgres import server_clock;"
        "server_clock.today = lambda _: date(2026, 6, 21); sys.exit(main.main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", start, *words],
        stdin=keyboard,
        stdout=keyboard,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | mapped(words, {"DATABASE_URL": closed, **START}, os.environ),
    )
    os.close(keyboard)
    said = shown(screen, until="Change closed months (2026-04)? Type yes to write this plan:")
    os.write(screen, f"{answer}\n".encode())
    said += shown(screen)
    _, err = process.communicate()
    assert process.returncode == code, said + err
    assert ("usage-jobs: stopped by Ctrl-C; nothing half-written" in err) == (code == 130)
    assert len(corrections(closed)) == (1 if code == 0 else 0)


def shown(screen: int, *, until: str | None = None) -> str:
    """What is written there until these words are, or to the end."""
    said = b""
    try:
        while (until is None or until.encode() not in said) and (piece := os.read(screen, 4096)):
            said += piece
    except OSError:  # the other side has been closed
        os.close(screen)
    return said.decode()


# The plan


def test_a_plan_is_written_once_the_data_is_as_it_was(closed: str) -> None:
    reprice(closed, 40, "1.5")
    agreed = backfill(closed, *APRIL, "--reason", "late", "--dry-run", "--json").object["plan"]
    assert [change["cause"] for change in agreed["changes"]] == ["usage"]
    reprice(closed, 41, "7")
    moved = backfill(closed, *APRIL, "--reason", "late", "--plan", agreed["hash"], code=6)
    assert f"--plan {agreed['hash']}: the data changed since that plan was made: the plan is" in moved.err
    assert corrections(closed) == []
    reprice(closed, 41, "2")
    backfill(closed, *APRIL, "--reason", "late", "--plan", agreed["hash"])
    assert [row[:2] for row in corrections(closed)] == [("04", "ada")]


def carried_out(url: str, hash_: str | None = None, **hooks: Any) -> Report:
    """The backfill of April, user by user, in this process; without a hash the dry run."""
    asked = Backfill(date(2026, 4, 1), date(2026, 4, 30), "late", plan=hash_)
    settings = load(None, {**START, "USAGE_JOBS_BATCH_ROWS": "1", "USAGE_JOBS_WORKERS": "1"}, Path.cwd())
    address = Address(job_url(url, lambda: settings))
    with server_day(TODAY):
        return run_job(RunRequest(settings, address, backfill=asked, dry_run=hash_ is None, **hooks))


def planned(url: str) -> str:
    """The hash of a dry run."""
    plan = carried_out(url).plan
    assert plan is not None
    return plan.hash


def changing(change: Callable[[], object], *, after: int) -> Callable[[str, int, int | None], None]:
    """Another program makes a change while the plan is carried out, once so many batches are committed. The first time
    that they are computed is the comparison of the plans."""
    begun = 0

    def progress(stage: str, done: int, _of: int | None) -> None:
        nonlocal begun
        if stage == "compute and write":
            begun += done == 0
            if begun == 2 and done == after:
                change()

    return progress


@pytest.mark.thorough
def test_the_data_changes_after_the_plans_were_compared(closed: str) -> None:
    """The batch that would write something else is not committed."""
    reprice(closed, 40, "1.5")
    plan, change = planned(closed), changing(lambda: reprice(closed, 40, "9"), after=0)
    with pytest.raises(
        PlanMismatchError, match=f"the data changed since the plan {plan} was made: .* for ada. They were not"
    ):
        carried_out(closed, plan, progress=change)
    assert corrections(closed) == []
    assert [row["status"] for row in ask(closed, "SELECT status FROM rollup.runs ORDER BY run_id")] == [
        "done",
        "failed",
    ]


@pytest.mark.thorough
def test_what_was_committed_before_the_data_changed_is_kept_and_a_new_plan_does_the_rest(closed: str) -> None:
    reprice(closed, 40, "1.5")
    reprice(closed, 41, "2.5")
    plan, change = planned(closed), changing(lambda: reprice(closed, 41, "9"), after=1)
    with pytest.raises(
        PlanMismatchError, match=r"for ben\. They were not written; users who were finished before stay"
    ):
        carried_out(closed, plan, progress=change)
    ada = ("04", "ada", 1, Decimal("1.5"), "usage", "late")
    assert corrections(closed) == [ada]
    assert drawn(closed)[40] == amounts("0", "1.5")
    with pytest.raises(PlanMismatchError, match=f"--plan {plan}: the data changed since that plan was made"):
        carried_out(closed, plan)
    carried_out(closed, planned(closed))
    assert corrections(closed) == [ada, ("04", "ben", 2, 9, "usage", "late")]
    assert [row["status"] for row in ask(closed, "SELECT status FROM rollup.runs ORDER BY run_id")] == [
        "done",
        "failed",
        "done",
    ]
    assert usage_jobs("reconcile", "--from", "2026-04-01", url=closed, today=TODAY, **START).code == 0


REJECTED = {"user_id": "ben", "gpu_hours": -1}
"""What is wrong with rows 70 to 76, besides what the first of a pair changes."""
CHANGED: tuple[tuple[dict[str, object], str], ...] = (
    ({}, "user_id = 'ada'"),
    ({}, "gpu_hours = -2"),
    ({}, "gpu_hours = 0"),
    ({}, "date = '2026-06-10'"),
    ({"user_id": None}, "user_id = 'ada'"),
    ({"user_id": None, "gpu_hours": 0}, "user_id = 'ada'"),
    ({"user_id": None}, "gpu_hours = -2"),
)
"""What such a row was, and what becomes of it."""
STILL_REJECTED = {70, 71, 74, 76}


@pytest.mark.parametrize("batch_rows", ["1", "100"])
def test_a_plan_counts_a_rejected_row_once_and_can_be_carried_out(closed: str, batch_rows: str) -> None:
    """Whoever it belongs to before and after, in whichever batch."""
    for number, (first, _) in enumerate(CHANGED, start=70):
        row(closed, number, "1", date(2026, 4, 11), **REJECTED | first)
    done(closed, *APRIL, code=3)
    reprice(closed, 40, "1.5")
    reprice(closed, 41, "2.5")
    for number, (_, then) in enumerate(CHANGED, start=70):
        ask(closed, f"UPDATE usage_daily SET {then} WHERE id = %s", UUID(int=number))
    words = ("backfill", *APRIL, "--reason", "late", "--json")
    size = {"USAGE_JOBS_BATCH_ROWS": batch_rows, **START}
    planned = usage_jobs(*words, "--dry-run", url=closed, today=TODAY, **size)
    assert (planned.code, planned.object["rows_rejected"]) == (3, len(STILL_REJECTED))
    kept = usage_jobs(*words, "--plan", planned.object["plan"]["hash"], url=closed, today=TODAY, **size)
    assert kept.code == 3, kept.err
    assert kept.object["changed"] == planned.object["changed"]
    found = ask(closed, "SELECT usage_daily_id AS id FROM rollup.rejects")
    assert {held["id"].int for held in found} == STILL_REJECTED
    assert done(closed, *APRIL, code=3)["rows_changed"] == 0


@pytest.mark.thorough
def test_a_backfill_that_died_is_completed_by_another(closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The night between them regroups what its batches have written, and says what the month comes to now."""

    def dies(*_: Any, **__: Any) -> Any:
        raise RuntimeError("killed")

    reprice(closed, 40, "1.5")
    with monkeypatch.context() as at_the_end:
        at_the_end.setattr(run, "finalize", dies)
        done_or_not = usage_jobs("backfill", *APRIL, "--reason", "late", "--yes", url=closed, today=TODAY, **START)
    assert done_or_not.code == 1
    assert usage_jobs("run", url=closed, today=TODAY, **START).code == 0
    [april] = ask(closed, "SELECT total_cost FROM rollup.months WHERE month = '2026-04-01'")
    assert april["total_cost"] == Decimal("3.5")
    laws = usage_jobs("reconcile", "--json", url=closed, today=TODAY, **START).object["laws"]
    assert [law["law"] for law in laws if law["verdict"] == "broken"] == ["7 the last run is done"]
    assert done(closed, *APRIL)["rows_changed"] == 0
    assert usage_jobs("reconcile", url=closed, today=TODAY, **START).code == 0


@pytest.mark.thorough
def test_a_plan_with_a_healed_row_of_another_user_is_carried_out(closed: str) -> None:
    """The user who has the row now takes it out of the rejects, not the one whom it was rejected of."""
    row(closed, 77, "1", date(2026, 4, 11), user_id="ada")
    ask(closed, "UPDATE usage_daily SET cpu_hours = 'NaN' WHERE id = %s", UUID(int=77))
    done(closed, *APRIL, code=3)
    ask(closed, "UPDATE usage_daily SET cpu_hours = 7, user_id = 'zed' WHERE id = %s", UUID(int=77))
    words, size = ("backfill", *APRIL, "--reason", "late", "--json"), {"USAGE_JOBS_BATCH_ROWS": "1", **START}
    planned = usage_jobs(*words, "--dry-run", url=closed, today=TODAY, **size).object
    kept = usage_jobs(*words, "--plan", planned["plan"]["hash"], url=closed, today=TODAY, **size)
    assert kept.code == 0, kept.err
    assert kept.object["changed"] == planned["changed"]


@pytest.mark.thorough
def test_a_plan_goes_on_without_a_user_who_is_locked(closed: str) -> None:
    reprice(closed, 40, "1.5")
    reprice(closed, 41, "3")
    words = ("backfill", *APRIL, "--reason", "late", "--json")
    plan = usage_jobs(*words, "--dry-run", url=closed, today=TODAY, **START).object["plan"]["hash"]
    with holding(closed, "SELECT FROM user_credits WHERE user_id = 'ada' FOR UPDATE"):
        kept = usage_jobs(*words, "--plan", plan, url=closed, today=TODAY, **START)
    assert (kept.code, kept.object["users_left"]) == (3, 1), kept.err
    assert [row[:2] for row in corrections(closed)] == [("04", "ben")]
    assert done(closed, *APRIL)["users_recomputed"] == 1


# Limits


@pytest.mark.thorough
def test_only_these_users_may_change(closed: str) -> None:
    reprice(closed, 40, "1.5")
    reprice(closed, 41, "3")
    beyond = backfill(closed, *APRIL, "--reason", "late", "--yes", "--user", "ada", code=6)
    assert "beyond --user and --cluster would change: corrections of user ben, user_daily of user ben" in beyond.err
    assert "user_monthly of user ben" in beyond.err
    assert corrections(closed) == []
    assert len(ask(closed, "SELECT run_id FROM rollup.runs")) == 1
    reprice(closed, 41, "2")
    done(closed, *APRIL, "--user", "ada", "--user", "cy")
    assert [row[:2] for row in corrections(closed)] == [("04", "ada")]


@pytest.mark.thorough
def test_only_these_clusters_may_change(closed: str) -> None:
    reprice(closed, 40, "1.5")
    beyond = backfill(closed, *APRIL, "--reason", "late", "--yes", "--cluster", str(UUID(int=1)), code=6)
    assert "cluster_daily of cluster none, cluster_monthly of cluster none" in beyond.err
    done(closed, *APRIL, "--cluster", "none")
    assert len(corrections(closed)) == 1


def test_a_dry_run_shows_what_is_beyond_the_limits(closed: str) -> None:
    reprice(closed, 41, "3")
    assert "of user ben" in backfill(closed, *APRIL, "--reason", "x", "--dry-run", "--user", "ada", code=6).err


# Watching


def test_watch_sees_what_has_changed_and_a_backfill_mends_it(closed: str) -> None:
    assert usage_jobs("watch", url=closed, today=TODAY, **START).code == 0
    # Two users swap their rows: the rows of the month, its sum, and those of its days and clusters are what they were.
    ask(closed, SWAP)
    seen = usage_jobs("watch", "--json", url=closed, today=TODAY, **START)
    assert seen.code == 6
    april, may = seen.object["months"]
    assert (april["changed"], april["causes"], april["total_before"]) == (True, {"usage": 2}, april["total_now"])
    assert may["changed"] is False
    assert april["backfill"] == "usage-jobs backfill --from 2026-04-01 --to 2026-04-30 --reason 'usage changed'"
    done(closed, *APRIL)
    assert [row[:4] for row in corrections(closed)] == [("04", "ada", 1, 2), ("04", "ben", 2, 1)]
    assert usage_jobs("watch", "--all", url=closed, today=TODAY, **START).code == 0


@pytest.mark.thorough
def test_watch_is_silent_where_every_figure_comes_out_the_same(closed: str) -> None:
    """A price that nobody pays, and rows that were reported since."""
    ask(closed, "ALTER TABLE usage_daily ADD COLUMN reported_to_stripe boolean")
    done(closed, *APRIL)
    insert(
        closed,
        "user_pricing_overrides",
        user_id="ben",
        resource_type="gpu_hours",
        override_price=9,
        valid_from="2026-04-01",
    )
    ask(closed, "UPDATE usage_daily SET reported_to_stripe = true WHERE user_id = 'ben'")
    seen = usage_jobs("watch", "--all", "--json", url=closed, today=TODAY, **START)
    assert (seen.code, seen.object["changed"]) == (0, 0)
    insert(
        closed,
        "user_pricing_overrides",
        user_id="ben",
        resource_type="cpu_hours",
        override_price=9,
        valid_from="2026-04-01",
        valid_until="2026-05-01",
    )
    seen = usage_jobs("watch", "--all", "--json", url=closed, today=TODAY, **START)
    april, may = seen.object["months"]
    assert (seen.code, april["users"], may["changed"]) == (6, 1, False)


def test_watch_looks_at_the_last_months(closed: str) -> None:
    reprice(closed, 40, "1.5")
    assert usage_jobs("watch", url=closed, today=TODAY, USAGE_JOBS_WATCH_MONTHS="1", **START).code == 0
    assert usage_jobs("watch", "--all", url=closed, today=TODAY, USAGE_JOBS_WATCH_MONTHS="1", **START).code == 6


@pytest.mark.thorough
def test_an_unfinished_backfill_is_named_by_reconcile(closed: str) -> None:
    """A later night does not complete it, as it covers other months."""
    reprice(closed, 40, "1.5")
    done(closed, *APRIL)
    with psycopg.connect(closed) as connection:
        connection.execute("UPDATE rollup.runs SET status = 'crashed' WHERE kind = 'backfill'")
    assert usage_jobs("run", url=closed, today=TODAY, **START).code == 0
    told = usage_jobs("reconcile", url=closed, today=TODAY, **START)
    assert told.code == 6
    assert "run 2: usage-jobs backfill --from 2026-04-01" in " ".join(told.out.split())
    assert "continues run 2 (crashed)" in str(done(closed, *APRIL)["notes"])
    assert usage_jobs("reconcile", url=closed, today=TODAY, **START).code == 0
