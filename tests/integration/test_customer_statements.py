"""`usage-jobs statement`: pages for customers, what they say and leave out, and who may have them made."""

import json
import os
import shutil
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from commands import DAY, Ran, add_row, ask, usage_jobs
from prepaid import MAY, night, others, prepaid, reprice, row
from statement_page import Page, check_page

from jobs.demo import sample

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE_HOME = os.environ.get("AXE_HOME", "")
CAN_LOOK = bool(CHROMIUM and shutil.which("node") and AXE_HOME and (Path(AXE_HOME) / "node_modules/axe-core").is_dir())
HOSTILE = "=cmd|\"<script>alert(1)</script>'&\u202e;" + "x" * 5000
CLOSED = date(2026, 6, 4)
"""A run of this day closes May."""
START: dict[str, Any] = {"USAGE_JOBS_START": "2026-05"}


def state(url: str, *words: str, code: int = 0, today: date = CLOSED, **environment: Any) -> Ran:
    ran = usage_jobs("statement", *words, url=url, today=today, **START, **environment)
    assert ran.code == code, ran.out + ran.err
    return ran


def page(url: str, user: str = "ada", month: str = "2026-05", **environment: Any) -> Page:
    return Page(state(url, "--user", user, "--month", month, **environment).out)


@pytest.fixture
def may(ready: str) -> str:
    """May is closed: ada has 10 credits and used 4 and 36; June is open."""
    prepaid(ready, purchased="10")
    row(ready, 1, "4", date(2026, 5, 2))
    row(ready, 2, "36", date(2026, 5, 31))
    row(ready, 3, "5", date(2026, 6, 1))
    ask(ready, "INSERT INTO credit_transactions (user_id, type, amount, balance_before, balance_after, created_at)"
        " VALUES ('ada', 'purchase', 10, 0, 10, '2026-04-30 10:00+0')")  # fmt: skip
    night(ready, today=CLOSED, **START)
    ask(
        ready,
        "UPDATE credit_transactions SET created_at = '2026-05-03 02:00+0' WHERE metadata->>'usage_date' = '2026-05-02'",
    )
    ask(ready, "ALTER TABLE rollup.credit_draws DISABLE TRIGGER USER")
    ask(ready, "UPDATE rollup.credit_draws SET posted_at = '2026-05-03 02:00+0' WHERE usage_date = '2026-05-02'")
    ask(ready, "ALTER TABLE rollup.credit_draws ENABLE TRIGGER USER")
    return ready


@pytest.mark.thorough
def test_the_sample_adds_up_user_by_user(ready: str, tmp_path: Path) -> None:
    with psycopg.connect(ready) as connection:
        sample.load(connection, users=24, days=45, last_day=DAY)
    assert usage_jobs("run", url=ready, **START).code == 3
    for month in (date(2026, 5, 1), date(2026, 6, 1)):
        folder = tmp_path / f"{month}"
        found = usage_jobs("statement", "--all", "--month", f"{month:%Y-%m}", "--out", str(folder), "--json", url=ready)
        assert (found.code, found.object["refused"]) == (0, [])
        index = json.loads((folder / f"{month:%Y-%m}-index.json").read_text())
        stored = ask(ready, "SELECT user_id, total_cost, amount_due FROM rollup.user_monthly WHERE month = %s", month)
        listed = {each["user"]: (Decimal(each["total"]), Decimal(each["due"])) for each in index["statements"]}
        assert listed == {each["user_id"]: (round(each["total_cost"], 2), each["amount_due"]) for each in stored}
        for each in index["statements"]:
            file = folder / each["file"]
            assert file.stat().st_mode & 0o777 == 0o600
            text = file.read_text()
            assert len(text) < 500_000
            made = check_page(text, ready, each["user"], month)
            assert not {"script", "link", "iframe"} & {*made.tags}


def test_an_account_of_a_closed_month(may: str) -> None:
    """The balances are those of the month's first and last instant; credits that later pay for it are said apart."""
    found = check_page(state(may, "--user", "ada", "--month", "2026-05").out, may, "ada", MAY)
    assert [(line.cells[0], line.exact[-1]) for line in found.tables["account"][1:]] == [
        ("Balance at the start of May 2026", 10),
        ("Purchased credits used for usage of May 2026", -4),
        ("Balance at the end of the month", 6),
    ]
    assert {line.cells[0]: line.exact[0] for line in found.lines("payments")} == {
        "Paid from purchased credits": 10,
        "Not covered by credits": 30,
    }
    assert "Of the credits, 6.00 USD were taken from the account after 31 May 2026" in found.text
    assert "Preliminary" not in found.text
    assert "Preliminary, up to 3 June 2026" in page(may, month="2026-06").text


def test_balances_that_the_entries_do_not_prove_are_left_out(may: str) -> None:
    ask(may, "UPDATE credit_transactions SET balance_before = 9 WHERE created_at < '2026-05-31'")
    found = page(may)
    assert "The balance before and after the month is left out" in found.text
    assert [line.cells[0] for line in found.tables["account"][1:]] == ["Purchased credits used for usage of May 2026"]


def test_a_closed_month_is_the_same_until_a_correction(may: str) -> None:
    first = state(may, "--user", "ada", "--month", "2026-05").out
    ask(may, "UPDATE user_credits SET total_used = total_used + 1")
    assert state(may, "--user", "ada", "--month", "2026-05", today=date(2026, 6, 9)).out == first
    ask(may, "UPDATE user_credits SET total_used = total_used - 1")
    reprice(may, 2, "6")
    refused = state(may, "--user", "ada", "--month", "2026-05", code=6)
    assert "usage-jobs watch names the backfill" in refused.err
    days = ("--from", "2026-05-01", "--to", "2026-05-31", "--reason", "counted twice", "--yes")
    assert usage_jobs("backfill", *days, url=may, today=CLOSED, **START).code == 0
    found = check_page(state(may, "--user", "ada", "--month", "2026-05").out, may, "ada", MAY)
    [line] = found.lines("own")
    assert (line.cells[2], line.exact[:2]) == ("counted twice (usage)", [40, 10])
    assert "Corrected on" in found.text
    ask(may, "UPDATE rollup.runs SET started_at = '2026-06-02' WHERE kind = 'backfill'")
    [line] = page(may, month="2026-06").lines("earlier")
    assert (line.cells[0], line.exact[:2]) == ("May 2026", [40, 10])


def test_a_debt_that_is_written_off_is_not_asked_for(may: str) -> None:
    words = ("debts", "--write-off", "--user", "ada", "--reason", "agreed")
    assert usage_jobs(*words, url=may, today=CLOSED, **START).code == 0
    assert "30.00 USD will not be asked for; 0.00 USD are still open" in page(may).text


def test_later_credit_pays_a_closed_month(may: str) -> None:
    others(may, purchased="100")
    night(may, today=date(2026, 6, 5), **START)
    found = page(may)
    assert {line.cells[0]: line.exact[0] for line in found.lines("payments")} == {"Paid from purchased credits": 40}
    assert [line.cells[2] for line in found.lines("own")] == ["Credits"]


def test_who_has_changed_does_not_stop_the_others(may: str, tmp_path: Path) -> None:
    row(may, 9, "3", date(2026, 6, 1), user_id="bob")
    night(may, today=CLOSED, **START)
    reprice(may, 9, "4")
    ran = state(may, "--all", "--month", "2026-06", "--out", str(tmp_path / "june"), code=6)
    assert "not written: bob" in ran.out
    index = json.loads((tmp_path / "june" / "2026-06-index.json").read_text())
    assert ([each["user"] for each in index["statements"]], index["refused"]) == (["ada"], ["bob"])


def test_hostile_ids_and_names_are_text(ready: str, tmp_path: Path) -> None:
    ask(ready, "INSERT INTO users (id, name, email) VALUES (%s, %s, %s)", HOSTILE, HOSTILE, "=1+1")
    cluster = UUID(int=7)
    ask(ready, "INSERT INTO hopsworks_clusters (id, name) VALUES (%s, %s)", cluster, "<b>\u05d0" + HOSTILE)
    add_row(ready, user_id="ben", cpu_hours=1)
    ask(ready, "UPDATE usage_daily SET user_id = %s, hopsworks_cluster_id = %s", HOSTILE, cluster)
    night(ready)
    ran = usage_jobs("statement", "--all", "--month", "2026-06", "--out", str(tmp_path / "x"), url=ready)
    assert ran.code == 0, ran.err
    [file] = (tmp_path / "x").glob("*.html")
    found = Page(file.read_text())
    assert "<script>alert(1)</script>" in found.text
    assert not {"script", "b"} & {*found.tags}
    assert "\u202e" not in found.text
    assert "5," in found.text.partition("characters")[0]
    if CAN_LOOK:
        _look(file)


def test_names_only_where_they_are_wanted(may: str) -> None:
    ask(may, "UPDATE users SET name = 'Ada L.', email = 'ada@example.com' WHERE id = 'ada'")
    assert "ada@example.com" in page(may).text
    without = Page(state(may, "--user", "ada", "--month", "2026-05", "--no-names").out)
    assert not {"Ada L.", "ada@example.com"} & {*without.text.split("\n")}


def test_entries_that_may_not_be_read_are_left_out_with_words(may: str) -> None:
    ask(may, "ALTER TABLE credit_transactions RENAME TO hidden")
    ran = state(may, "--user", "ada", "--month", "2026-05")
    assert "The entries of your credit account are not part of this statement" in ran.out
    assert "statements have no entries of credit accounts" in ran.err


@pytest.mark.direct("as the role itself")
def test_the_role_of_the_job_is_enough(may: str) -> None:
    text = usage_jobs("schema", "--role", "stater", "--apply", url=may)
    assert text.code == 0, text.err
    try:
        ask(may, "ALTER ROLE stater PASSWORD 'p'")
        ran = state(_as("stater", may), "--user", "ada", "--month", "2026-05")
        assert "Balance at the end of the month" in ran.out
    finally:
        ask(may, "DROP OWNED BY stater")
        ask(may, "DROP ROLE stater")


def _as(role: str, url: str) -> str:
    head, _, tail = url.partition("@")
    return f"{head.partition('//')[0]}//{role}:p@{tail}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--user", "nobody", "--month", "2026-05"), "expected a value of usage_daily.user_id"),
        (("--user", "ada", "--month", "2027-01"), "expected a month of which a run has covered a day"),
        (("--user", "ada", "--month", "2020-01"), "expected a month of which a run has covered a day"),
        (("--all", "--month", "2026-05"), "--all: expected --out DIR"),
        (("--month", "2026-05"), "one of the arguments --user --all is required"),
        (("--user", "ada", "--month", "2026-05", "--json"), "--json: expected --out FILE"),
        (("--user", "ada", "--month", "2026-05", "--format", "pdf"), "a PDF is no text"),
        (("--user", "ada", "--month", "2026-05", "--out", "no/such/file.html"), "Make the folder"),
    ],
)
def test_bad_requests(may: str, words: tuple[str, ...], said: str) -> None:
    assert said in state(may, *words, code=2).err


def test_the_operators_name_logo_and_template(may: str, tmp_path: Path) -> None:
    (tmp_path / "logo.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    (tmp_path / "own").mkdir()
    template = tmp_path / "own" / "statement.html"
    template.write_text('{% extends "package/statement.html" %}\n{% block footer %}<p>Pay soon.</p>{% endblock %}')
    given = {"OPERATOR": "Cloud & Co", "ADDRESS": "1 Main St\nTown", "LOGO": "logo.svg", "TEMPLATE": "own"}
    reports: dict[str, Any] = {f"USAGE_JOBS_REPORTS__{name}": value for name, value in given.items()}
    found = page(may, **reports)
    assert all(words in found.text for words in ("Cloud & Co", "1 Main St", "Town", "Pay soon."))
    assert "img" in found.tags
    for wrong in ("{% block x %}\n{{ nothing.at.all }}{% endblock %}", "\n{% if %}", "\n{{ statement.total + 1 }}",
                  "\n{{ statement.__class__.__mro__ }}"):  # fmt: skip
        template.write_text(wrong)
        ran = state(may, "--user", "ada", "--month", "2026-05", code=2, **reports)
        assert f"{template} line 2" in ran.err


def test_a_pdf(may: str, tmp_path: Path) -> None:
    pytest.importorskip("weasyprint", reason="needs the extra [pdf]")
    file = tmp_path / "may.pdf"
    state(may, "--user", "ada", "--month", "2026-05", "--out", str(file))
    assert file.read_bytes().startswith(b"%PDF-")


def test_without_the_extra(may: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    ran = state(may, "--user", "ada", "--month", "2026-05", "--out", str(tmp_path / "may.pdf"), code=2)
    assert "pip install 'usage-jobs[pdf]'" in ran.err


@pytest.mark.skipif(
    not CAN_LOOK, reason="needs Chromium, node, and AXE_HOME: a folder with node_modules/axe-core and puppeteer-core"
)
def test_pages_are_accessible(may: str, tmp_path: Path) -> None:
    for month in ("2026-05", "2026-06"):
        state(may, "--user", "ada", "--month", month, "--out", str(tmp_path / f"{month}.html"))
    _look(*tmp_path.glob("*.html"))


def _look(*files: Path) -> None:
    """Nothing that axe-core finds wrong, and no page that scrolls sideways, at 1280 and 390 pixels."""
    script = Path(__file__).parents[1] / "support" / "axe.mjs"
    environment = os.environ | {"CHROMIUM": str(CHROMIUM)}
    done = subprocess.run(["node", script, *files], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
