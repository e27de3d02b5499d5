"""`usage-jobs report`: hostile texts are text, what is refused, the short form; and the files of `schedule`."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from commands import Ran, add_row, applied, ask, explicit, usage_jobs
from fake_clock import FakeClock
from ways import job_url

from jobs.postgres import server_clock
from jobs.postgres.conninfo import Address
from jobs.service.nightly import Daemon
from jobs.service.report_files import hide_login
from jobs.service.scheduler import Schedule
from jobs.settings import Settings, load

pytestmark = pytest.mark.skipif(not (find_spec("pygal") and find_spec("jinja2")), reason="needs the extra [reports]")
CLUSTERS = (UUID(int=0xC1), UUID(int=0xC2))
HOSTILE = (
    "=cmd|' /C calc'!A0",
    "<script>alert('x')</script>",
    '" onmouseover="alert(1)',
    "{{ 7 * 7 }}{% for %}",
    "\u202egnp.exe \u0645\u0631\u062d\u0628\u0627",
    "\x1b[31mred",
    "x" * 5000,
)
NAME = '"><img src=x onerror=alert(1)>' + "n" * 5000
TODAY = date(2026, 7, 20)
AXE_HOME = os.environ.get("AXE_HOME", "")
"""A folder with node_modules of axe-core and puppeteer-core."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
Make = Callable[[Callable[[str], object]], str]


def worked(url: str) -> None:
    """May to July of users with hostile ids; May and June are closed, July is open."""
    for number, user in enumerate(HOSTILE):
        for day in (date(2026, 5, 31), date(2026, 6, 1), date(2026, 7, 3)):
            cluster = (None, *CLUSTERS)[number % 3]
            quantities = {"cpu_hours": Decimal(number + 1) * day.month / 7, "storage_gb": Decimal("10.0000000001")}
            add_row(url, user_id=user, date=day, hopsworks_cluster_id=cluster, **quantities)
    add_row(url, user_id=HOSTILE[1], date=date(2026, 7, 4), cpu_hours=Decimal(-1))
    ask(url, "UPDATE users SET name = %s, email = '@' || id", NAME)
    for day in (date(2026, 6, 10), date(2026, 7, 10), TODAY):
        assert usage_jobs("run", url=url, today=day, USAGE_JOBS_START="2026-05").code in (0, 3)


@pytest.fixture
def url(make_prepared: Make) -> str:
    return make_prepared(worked)


def report(url: str, month: str, *words: str, **environment: Any) -> Ran:
    return usage_jobs("report", "--month", month, *words, url=url, today=TODAY, **environment)


def test_hostile_texts_are_text(url: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    ran = report(url, "2026-07", "--out", str(file))
    assert ran.code == 0, ran.err
    page = file.read_text(encoding="utf-8")
    assert report(url, "2026-07", "--out", "-").out.partition("<footer>")[0] == page.partition("<footer>")[0]
    assert report(url, "2026-07", "--out", "-", "--json").code == 2
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(page) < 500_000
    assert "<script" not in page
    assert "<img" not in page
    assert "49" not in re.findall(r"<bdi>(.*?)</bdi>", page)
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page
    assert not re.search("[\x00-\x08\x0e-\x1f\u202a-\u202e]", page)
    assert "x" * 100 not in page
    assert not re.findall(r"(?:src|href)=\"(?!#)", page)
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_the_short_form_and_the_object(url: str) -> None:
    told = report(url, "2026-07")
    assert told.code == 0, told.err
    out = " ".join(told.out.split())
    assert "2026-07-01 to 2026-07-19, open" in out
    assert "Compared with 2026-06-01 to 2026-06-19." in out
    assert "1 usage row rejected" in told.out
    assert "\x1b" not in told.out
    found = report(url, "2026-07", "--json").object
    assert Decimal(found["totals"]["total_cost"]) == sum(Decimal(row["total_cost"]) for row in found["day_costs"])
    assert [row["rows"] for row in found["rejects"]] == [1]
    assert found["broken"] == 0
    june = report(url, "2026-06", "--json").object
    assert (june["closed_by"], june["before"]["to"]) == (2, "2026-05-31")


@pytest.mark.parametrize("month", ["2026-04", "2026-08"])
def test_a_month_that_is_not_covered(url: str, month: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    ran = report(url, month, "--out", str(file))
    assert ran.code == 2
    assert f"--month {month}: expected a month of which a run has covered a day" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert file.read_text() == "old"


def test_no_month_before_an_empty_month_and_another_currency(url: str, tmp_path: Path) -> None:
    shown = " ".join(report(url, "2026-05").out.split())
    assert "Not compared with the month before: no run has covered 2026-04." in shown
    ask(url, "UPDATE rollup.months SET currency = 'EUR' WHERE month = '2026-05-01'")
    shown = " ".join(report(url, "2026-06").out.split())
    assert "Not compared with the month before: 2026-05 is in EUR, 2026-06 in USD." in shown
    ran = usage_jobs("run", url=url, today=date(2026, 9, 10), USAGE_JOBS_START="2026-05")
    assert ran.code in (0, 3), ran.err
    file = tmp_path / "empty.html"
    ran = usage_jobs("report", "--month", "2026-08", "--out", str(file), url=url, today=date(2026, 9, 10))
    assert ran.code == 0, ran.err
    assert "No usage in this month." in file.read_text()
    assert usage_jobs("report", "--month", "2026-08", url=url, today=date(2026, 9, 10)).code == 0


def test_names_are_read_unless_refused(url: str) -> None:
    with_names, without = (report(url, "2026-07", "--json", *words) for words in ((), ("--no-names",)))
    assert "onerror" not in without.out
    assert "name" not in without.object["top_users"][0]
    assert with_names.object["totals"] == without.object["totals"]


# schedule


def night(url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[int | None, Daemon]:
    monkeypatch.setattr(server_clock, "today", lambda _: TODAY)
    clock = FakeClock(datetime(2026, 7, 20, 3, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    served = Daemon(settings, Address(job_url(url, lambda: settings)), clock.now)
    nightly, _ = Schedule(served.entries(), clock.now).entries
    nightly.run(clock.now)
    assert nightly.failed == 0
    return nightly.code, served


def scheduled(url: str, reports: str) -> Settings:
    variables = {"USAGE_JOBS_START": "2026-05", "USAGE_JOBS_SCHEDULE__REPORTS": reports}
    return explicit(load(None, variables, Path.cwd()), url, date(2026, 7, 19))


FILES = {"report-2026-07.html", "user-2026-07.csv", "cluster-2026-07.csv"}


def test_a_night_writes_files_into_a_folder(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _ = night(url, scheduled(url, str(tmp_path / "new" / "reports")), monkeypatch)
    assert code == 3
    files = {path.name: path.read_text() for path in (tmp_path / "new" / "reports").iterdir()}
    assert files.keys() == FILES
    assert "onerror" not in "".join(files.values()), "names are not read without being asked for"


def test_a_night_writes_files_to_object_storage(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec", reason="needs the extra [storage]")
    code, _ = night(url, scheduled(url, "memory://bucket/usage"), monkeypatch)
    assert code == 3
    system = fsspec.filesystem("memory")
    assert {path.rpartition("/")[2] for path in system.ls("/bucket/usage", detail=False)} == FILES
    assert system.cat("/bucket/usage/report-2026-07.html").startswith(b"<!DOCTYPE html>")
    system.rm("/bucket", recursive=True)


@pytest.mark.parametrize("place", ["taken/reports", "nothing-like-this://user:secret@bucket"])
def test_files_that_cannot_be_written_do_not_undo_the_run(
    url: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log says what to do, the metrics count it, and the night is not repeated."""
    (tmp_path / "taken").write_text("a file")
    code, served = night(url, scheduled(url, place if "://" in place else str(tmp_path / place)), monkeypatch)
    assert code == 3
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    [failed] = [line for line in lines if line["event"] == "failed"]
    assert failed["kind"] == "report"
    assert "schedule.reports = " in failed["error"]
    assert "secret" not in str(lines)
    assert 'usage_jobs_runs_total{kind="report",status="failed"} 1.0' in served.metrics.text().decode()


def test_passwords_of_addresses_are_hidden() -> None:
    assert hide_login("ftp://me:p@ss@host/usage") == "ftp://***@host/usage"
    assert hide_login("s3://bucket/a@b") == "s3://bucket/a@b"


# The page in a browser

LOOK = """
const puppeteer = require('puppeteer-core');
(async () => {
  const [file, chromium, axe] = process.argv.slice(1);
  const browser = await puppeteer.launch({executablePath: chromium, args: ['--no-sandbox'], headless: true});
  const found = [];
  for (const width of [1280, 390]) for (const value of ['light', 'dark']) {
    const page = await browser.newPage();
    const asked = [];
    page.on('request', request => asked.push(request.url()));
    await page.setViewport({width, height: 900});
    await page.emulateMediaFeatures([{name: 'prefers-color-scheme', value}]);
    await page.goto('file://' + file);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    await page.addScriptTag({path: axe});
    const done = await page.evaluate(() => axe.run(document, {}));
    found.push({width, wide, asked: asked.length, violations: done.violations.map(each => each.id)});
  }
  console.log(JSON.stringify(found));
  await browser.close();
})();
"""


@pytest.mark.skipif(not (AXE_HOME and CHROMIUM and shutil.which("node")), reason="needs node, Chromium and AXE_HOME")
def test_the_page_in_a_browser(url: str, tmp_path: Path) -> None:
    """No violation, no request but its own, and no wider than the screen, also with hostile texts."""
    file, modules = tmp_path / "report.html", Path(AXE_HOME) / "node_modules"
    assert report(url, "2026-07", "--out", str(file)).code == 0
    words = ["node", "-e", LOOK, "--", str(file), str(CHROMIUM), str(modules / "axe-core" / "axe.min.js")]
    environment = {**os.environ, "NODE_PATH": str(modules)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=120)
    for seen in json.loads(done.stdout):
        assert seen["violations"] == []
        assert seen["wide"] <= seen["width"]
        assert seen["asked"] == 1


def test_only_a_file_can_be_written(database: str, tmp_path: Path) -> None:
    applied(database)
    ran = usage_jobs("report", "--month", "2026-06", "--out", str(tmp_path), url=database)
    assert ran.code == 2
    assert "expected a file; found a folder" in ran.err
