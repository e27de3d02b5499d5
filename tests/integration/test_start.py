"""Nothing is billed by default: what a first run must be told, `usage-jobs init`, what differs from the last run."""

import re
from pathlib import Path

import pytest
from commands import RATES, Ran, add_usage, ask, configured, contents, usage_jobs_unsaid

from jobs.settings import load
from jobs.settings.files import shipped

START, PRICES = 'start = "2026-05"\n', 'rates = "rates.csv"\n'
COMPUTING = (("run",), ("run", "--dry-run"), ("backfill", "--from", "2026-06-01", "--to", "2026-06-02", "--yes"))


TOLD = ("nothing is billed by default", "USAGE_JOBS_START", "USAGE_JOBS_RATES", "usage-jobs init")


@pytest.fixture
def ready(ready: str) -> str:
    """With a row of usage that costs 0.10."""
    add_usage(ready)
    return ready


def log(url: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = usage_jobs_unsaid("runs", "--json", url=url).object["runs"]
    return found


def test_a_first_run_needs_start_and_rates(ready: str, tmp_path: Path) -> None:
    before = contents(ready)
    for settings, missing in (
        (None, "no start and no rates"),
        ("", "no start and no rates in"),
        (START, "no rates in"),
        (PRICES, "no start in"),
    ):
        if settings is not None:
            configured(tmp_path, settings=settings)
        for command in COMPUTING:
            ran = usage_jobs_unsaid(*command, url=ready)
            assert (ran.code, ran.out) == (2, ""), ran.err
            for words in (*TOLD, missing):
                assert words in ran.err
    assert contents(ready) == before


@pytest.mark.parametrize(
    ("place", "command"), list(zip(("the file", "the environment", ".env.local"), COMPUTING, strict=True))
)
def test_where_start_and_rates_may_be_said(ready: str, tmp_path: Path, place: str, command: tuple[str, ...]) -> None:
    """A variable's path starts from where the command does; a second run need not be told."""
    configured(tmp_path, settings=START + PRICES if place == "the file" else "")
    variables = {"USAGE_JOBS_START": "2026-05", "USAGE_JOBS_RATES": "config/rates.csv"}
    if place == ".env.local":
        (tmp_path / ".env.local").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    given = variables if place == "the environment" else {}
    assert usage_jobs_unsaid(*command, url=ready, **given).code == 0
    (tmp_path / ".env.local").unlink(missing_ok=True)
    configured(tmp_path)
    again = usage_jobs_unsaid("run", url=ready)
    assert again.code == (2 if "--dry-run" in command else 0), again.err


def test_a_run_that_failed_is_none(ready: str, tmp_path: Path) -> None:
    configured(tmp_path)
    ask(
        ready,
        "INSERT INTO rollup.runs (kind, window_from, window_to, status, version)"
        " SELECT kind, '2026-05-01', '2026-06-19', status, '0'"
        " FROM (VALUES ('run', 'failed'), ('run', 'crashed'), ('adopt', 'done')) AS t (kind, status)",
    )
    assert usage_jobs_unsaid("run", url=ready).code == 2


def test_check_says_it_before(ready: str) -> None:
    ran = usage_jobs_unsaid("check", "--json", url=ready)
    assert ran.code == 5
    [finding] = [finding for finding in ran.object["findings"] if finding["level"] == "refused"]
    assert finding["subject"] == "the next run"
    assert "usage-jobs init" in finding["found"]


# init


@pytest.mark.parametrize(
    ("where", "option"),
    [([], ""), (["config"], ""), (["elsewhere/new"], " --config elsewhere/new/settings.toml")],
)
def test_init_and_what_it_says_to_do_next(ready: str, tmp_path: Path, where: list[str], option: str) -> None:
    ran = usage_jobs_unsaid("init", *where, url=ready)
    assert (ran.code, ran.err) == (0, "")
    folder = tmp_path.joinpath(*where)
    settings = folder / "settings.toml"
    assert f"{settings.relative_to(tmp_path)}: fill in start" in ran.out
    assert f"usage-jobs run --dry-run{option}\n" in ran.out
    assert (folder / "rates.csv").read_text() == shipped("rates.csv").read_text()
    words = ["run", *option.split()]
    assert "found no start in" in usage_jobs_unsaid(*words, url=ready).err
    settings.write_text(settings.read_text().replace("# start", "start", 1).replace("2026-01", "2026-05", 1))
    assert usage_jobs_unsaid(*words, url=ready).code == 0
    [run] = log(ready)
    assert (run["settings_file"], run["rates_file"]) == (str(settings), str(folder / "rates.csv"))


@pytest.mark.parametrize("name", ["settings.toml", "rates.csv"])
def test_init_overwrites_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    ran = usage_jobs_unsaid("init", "--json", url="")
    assert (ran.code, ran.object["exit_code"]) == (2, 2)
    assert f"{name}: exists" in ran.err
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "mine")]


def test_init_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = usage_jobs_unsaid("init", "file/folder", url="")
    assert (ran.code, "file/folder: expected a folder" in ran.err) == (2, True), ran.err


# Where settings are found


def test_settings_are_found_in_this_order(tmp_path: Path) -> None:
    def written(name: str, currency: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'currency = "{currency}"\n')
        (file.parent / "rates.csv").write_text(RATES)
        return file

    def found(config: Path | None = None, **env: str) -> str:
        return load(config, env, tmp_path).currency

    assert found() == "USD"
    written("config/settings.toml", "AAA")
    assert found() == "AAA"
    written("settings.toml", "BBB")
    assert found() == "BBB"
    named = written("c/third.toml", "CCC")
    assert found(USAGE_JOBS_CONFIG="c/third.toml") == found(USAGE_JOBS_CONFIG=str(named)) == "CCC"
    (tmp_path / ".env.local").write_text("USAGE_JOBS_CONFIG=c/third.toml\n")
    assert found() == "CCC"
    assert found(written("d/fourth.toml", "DDD"), USAGE_JOBS_CONFIG="c/third.toml") == "DDD"


def test_a_rate_card_that_is_missing_is_never_another(ready: str, tmp_path: Path) -> None:
    """Misspelt, or gone: also where runs have been done, and where nobody said its name."""
    for settings in (START, START + PRICES):
        configured(tmp_path, settings=settings)
        (tmp_path / "config" / "rates.csv").rename(tmp_path / "config" / "rate.csv")
        ran = usage_jobs_unsaid("run" if settings == START else "runs", url=ready)
        assert (ran.code, "config/rates.csv: expected the rates file; found: No such file" in ran.err) == (2, True)


# What differs from the last run


@pytest.fixture
def ran_once(ready: str, tmp_path: Path) -> str:
    configured(tmp_path, settings=START + PRICES)
    assert usage_jobs_unsaid("run", url=ready).code == 0
    return ready


def notes(ran: Ran) -> list[str]:
    assert ran.code == 0, ran.err
    found: list[str] = ran.object["notes"]
    return found


def test_what_differs_from_the_last_run_is_named(ran_once: str, tmp_path: Path) -> None:
    assert notes(usage_jobs_unsaid("run", "--json", url=ran_once)) == []
    changed = RATES.replace("cpu_hours,2020-01-01,0,0.10", "cpu_hours,2020-01-01,0,0.20")
    changed = changed.replace("gpu_hours,2020-01-01", "gpu_hours,2020-01-02").replace(",1.00,", ",1,")
    configured(tmp_path, settings=START + PRICES + 'max_shrink = 0.3\n[credits]\nstart = "2026-06"\n', rates=changed)
    (tmp_path / ".env.local").write_text("USAGE_JOBS_METERS__GPU_HOURS__UNIT=gpu h\nUSAGE_JOBS_WORKERS=1\n")
    for command in ("--dry-run", "--json"):
        told = usage_jobs_unsaid("run", "--json", command, url=ran_once)
        assert notes(told) == [
            "settings differ from those of run 2: credits.start = 2026-06-01 (was not set), max_shrink = 0.3 "
            "(was 0.2), meters.gpu_hours = gpu_hours flow gpu h gpu_hours (was gpu_hours flow h gpu_hours)",
            "prices differ from those of run 2: cpu_hours from 2020-01-01 (config/rates.csv line 2), gpu_hours from "
            "2020-01-01 (not there any more), gpu_hours from 2020-01-02 (config/rates.csv line 3)",
        ]
    assert notes(usage_jobs_unsaid("run", "--json", url=ran_once)) == []
    configured(
        tmp_path,
        settings=(tmp_path / "config" / "settings.toml").read_text(),
        rates=changed.replace("2020-01-0", "2020-01-1"),
    )
    [note] = notes(usage_jobs_unsaid("run", "--dry-run", "--json", url=ran_once))
    assert (note.count("line") + note.count("not there any more"), note[-10:]) == (5, "and 5 more")
    [kept] = ask(
        ran_once, "SELECT inputs -> 'prices' ->> 'cpu_hours from 2020-01-01' AS price FROM rollup.runs WHERE run_id = 3"
    )
    assert kept == {"price": "0.2 from 0, per 1"}


def test_who_forgets_his_settings_is_told(ran_once: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder without any, once a run has been done by others: by which it bills, and what differs."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    told = usage_jobs_unsaid("run", "--dry-run", "--json", url=ran_once)
    assert not told.object["settings_file"].startswith(str(tmp_path))
    said = " ".join(told.object["notes"])
    assert re.search(r"settings differ from those of run \d: start = not set \(was 2026-05-01\)", said)
    assert re.search(r"prices differ from those of run \d: storage_gb from 2020-01-01 \(\S+/rates.csv line 4\)", said)


def test_summary_dry_run_and_run_log_name_both_files(ran_once: str, tmp_path: Path) -> None:
    files = [str(tmp_path / "config" / name) for name in ("settings.toml", "rates.csv")]
    for command in (("run",), ("run", "--dry-run"), ("runs",)):
        said = "".join(usage_jobs_unsaid(*command, url=ran_once).out.split())
        assert all(file in said for file in files)
        told = usage_jobs_unsaid(*command, "--json", url=ran_once).object
        one = told["runs"][0] if "runs" in told else told
        assert [one["settings_file"], one["rates_file"]] == files


@pytest.mark.thorough
def test_a_log_that_kept_no_settings_yet(ran_once: str, tmp_path: Path) -> None:
    """As an earlier version left it; it says that runs have been done, and not with which settings."""
    ask(ran_once, "ALTER TABLE rollup.runs DROP COLUMN inputs")
    refused = usage_jobs_unsaid("run", url=ran_once)
    assert (refused.code, "usage-jobs schema --apply" in refused.err) == (5, True)
    assert usage_jobs_unsaid("schema", "--apply", url=ran_once).code == 0
    configured(tmp_path, settings="max_shrink = 0.3\n")
    assert notes(usage_jobs_unsaid("run", "--json", url=ran_once)) == []
    assert [run["settings_file"] for run in log(ran_once)] == [str(tmp_path / "config" / "settings.toml"), None]
