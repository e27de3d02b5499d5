"""Every command: its help, its JSON, what it changes and what it leaves alone."""

import os
import re
import shlex
import socket
from calendar import monthrange
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from pathlib import Path

import psycopg
import pytest
from commands import (
    CLUSTER,
    DAY,
    RATES,
    TODAY,
    add_usage,
    applied,
    ask,
    configured,
    contents,
    usage_jobs,
    usage_jobs_process,
    written,
)
from server_day import server_day
from ways import job_url

from jobs.audit.explain import explain_month
from jobs.audit.explanation import Explanation, PricedQuantity
from jobs.cli.arguments import COMMANDS
from jobs.demo.sample import load
from jobs.postgres.conninfo import Address
from jobs.settings import load as load_settings

NAMES = [command.name for command in COMMANDS]
EXPLAIN = ("explain", "--user", "ada", "--month", "2026-06")


@pytest.fixture
def ready(ready: str) -> str:
    """Two users on two clusters, ready for a run."""
    add_usage(ready, hopsworks_cluster_id=CLUSTER)
    add_usage(ready, user_id="bob", cpu_hours=2)
    return ready


def prepare_sample(url: str) -> None:
    with psycopg.connect(url) as connection:
        load(connection, users=12, days=30, last_day=DAY)


@pytest.fixture
def sample(make_prepared: Callable[[Callable[[str], object]], str]) -> str:
    """The demo's usage: the whole cast and two of the crowd, ten days of May and twenty of June."""
    return make_prepared(prepare_sample)


# Help and bad usage


@pytest.mark.parametrize("command", NAMES)
def test_help_shows_an_example(command: str) -> None:
    ran = usage_jobs(command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert f"Example: usage-jobs {command}" in ran.out
    assert "--config PATH" in ran.out
    assert "--json" in ran.out


def test_help_names_every_command() -> None:
    ran = usage_jobs_process("--help")
    assert (ran.code, ran.err) == (0, "")
    assert re.findall(r"^    ([\w-]+)(?: |$)", ran.out, re.MULTILINE) == NAMES


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("rn",), "invalid choice: 'rn'"),
        (("run", "--fast"), "unrecognized arguments: --fast"),
        (("explain", "--user", "ada"), "the following arguments are required: --month"),
        (("explain", "--user", "ada", "--month", "June"), "'June' is not a month; expected one such as 2026-01"),
        (("runs", "--limit", "0"), "'0' is not a count; expected a whole number from 1 to"),
        (("demo", "--users", "many"), "'many' is not a count"),
    ],
)
def test_bad_usage(arguments: tuple[str, ...], words: str) -> None:
    ran = usage_jobs(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert "--help" in ran.err


# JSON


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (("schema",), {"schema", "applied", "ddl"}),
        (("schema", "--apply"), {"schema", "applied", "ddl"}),
        (("check",), {"address", "settings", "findings"}),
        (
            ("run",),
            {"run_id", "window_from", "window_to", "rows_read", "rows_rejected", "changed", "total_cost"}
            | {"users_recomputed"},
        ),
        (("run", "--dry-run"), {"run_id", "window_from", "window_to", "changed", "total_cost", "exit_code"}),
        (("runs",), {"runs"}),
        (EXPLAIN, {"user", "month", "lines", "sums", "rollup", "agrees"}),
    ],
)
def test_json_is_one_object(ready: str, arguments: tuple[str, ...], keys: set[str]) -> None:
    usage_jobs("run", url=ready)
    ran = usage_jobs(*arguments, "--json", url=ready)
    assert ran.code == 0, ran.err
    assert keys <= ran.object.keys()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "--date", "2026-06-21"), 2, "--date 2026-06-21: expected yesterday"),
        (("run", "--config", "none.toml"), 2, "none.toml: expected the settings file"),
        (("explain", "--user", "eve", "--month", "2026-06"), 2, "--user 'eve': no usage and no roll-up in 2026-06"),
        (("run", "--date", "soon"), 2, "'soon' is not a day"),
        (("explain", "--user", "ada"), 2, "required: --month"),
        (("run", "--fast"), 2, "unrecognized arguments: --fast"),
    ],
)
def test_json_of_an_error_is_one_object(ready: str, arguments: tuple[str, ...], code: int, words: str) -> None:
    ran = usage_jobs(*arguments, "--json", url=ready)
    assert ran.code == code
    assert words in ran.err
    assert ran.object["exit_code"] == code
    assert words in ran.object["error"]


def test_amounts_travel_as_text(ready: str) -> None:
    ran = usage_jobs("run", "--json", url=ready)
    assert ran.object["total_cost"] == "0.3000000000"


@pytest.mark.thorough
def test_a_process_keeps_standard_output_for_the_result(ready: str) -> None:
    ran = usage_jobs_process("run", "--date", str(DAY), "--json", DATABASE_URL=ready)
    assert ran.code == 0, ran.err
    assert (ran.object["window_to"], ran.object["rows_read"]) == ("2026-06-20", 2)
    assert "compute and write" in ran.err


def test_a_run_that_covers_more_days_than_asked_says_so(ready: str) -> None:
    assert usage_jobs("run", "--json", url=ready).object["notes"] == []
    ran = usage_jobs("run", "--date", "2026-06-10", "--json", url=ready)
    [note] = ran.object["notes"]
    assert ran.object["window_to"] == "2026-06-20"
    assert note.startswith("asked for the days up to 2026-06-10; this run covers those up to 2026-06-20")
    shown = usage_jobs("run", "--date", "2026-06-10", "--dry-run", url=ready).out
    assert "asked for the days up to 2026-06-10" in " ".join(shown.split())
    assert usage_jobs("run", "--date", str(DAY), "--json", url=ready).object["notes"] == []


def test_a_backfill_that_computes_more_months_than_asked_says_so(ready: str) -> None:
    asked = ("backfill", "--from", "2026-06-02", "--to", "2026-06-02", "--dry-run", "--json")
    [note] = usage_jobs(*asked, url=ready, today=date(2026, 6, 3)).object["notes"]
    assert note.startswith("asked for 2026-06-02 to 2026-06-02; 2026-05 computed too")


# schema


def test_schema_prints_ddl_that_runs_twice(database: str) -> None:
    ddl = usage_jobs("schema").out
    with psycopg.connect(database) as connection:
        for _ in range(2):
            connection.execute(ddl.encode())
    add_usage(database)
    assert usage_jobs("run", url=database).code == 0


def test_schema_applied_twice_changes_nothing(ready: str) -> None:
    usage_jobs("run", url=ready)
    text = (
        "SELECT relname, relnatts, xmin::text, relacl::text FROM pg_class WHERE relnamespace = 'rollup'::regnamespace"
    )
    before, rows = ask(ready, text + " ORDER BY 1"), contents(ready)
    applied(ready)
    assert [{**row, "xmin": 0} for row in ask(ready, text + " ORDER BY 1")] == [{**row, "xmin": 0} for row in before]
    assert contents(ready) == rows


def test_schema_is_closed_to_the_rest_api(ready: str) -> None:
    for role in ("anon", "authenticated", "public"):
        held = ask(ready, "SELECT has_schema_privilege(%s, 'rollup', 'USAGE') AS held", role)
        assert held == [{"held": False}], role


def test_a_new_meter_adds_its_columns_and_keeps_the_rows(ready: str, tmp_path: Path) -> None:
    usage_jobs("run", url=ready)
    names = "SELECT user_id, total_cost FROM rollup.user_monthly ORDER BY 1"
    before = ask(ready, names)
    meters = [line.split(",")[0] for line in RATES.splitlines()[1:]]
    settings = "".join(f"[meters.{name}]\n" for name in [*meters, "egress_gb"])
    configured(tmp_path, settings=settings, rates=RATES + "egress_gb,2020-01-01,0,2,1,list\n")
    ask(ready, "ALTER TABLE usage_daily ADD COLUMN egress_gb numeric")
    without = usage_jobs("run", url=ready)
    assert without.code == 5
    assert "rollup.user_monthly: expected the job's own table; found without egress_gb, egress_gb_cost" in without.err

    applied(ready)
    assert ask(ready, names) == before
    ask(ready, "UPDATE usage_daily SET egress_gb = 3 WHERE user_id = 'ada'")
    assert usage_jobs("run", url=ready).code == 0
    found = ask(ready, "SELECT user_id, egress_gb, egress_gb_cost, total_cost FROM rollup.user_monthly ORDER BY 1")
    assert [tuple(row.values()) for row in found] == [("ada", 3, 6, Decimal("6.1")), ("bob", 0, 0, Decimal("0.2"))]


def test_the_schema_may_have_another_name(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USAGE_JOBS_SCHEMA", "billing")
    add_usage(applied(database))
    assert usage_jobs("run", url=database).code == 0
    assert ask(database, "SELECT user_id FROM billing.user_monthly") == [{"user_id": "ada"}]
    assert ask(database, "SELECT to_regnamespace('rollup') AS rollup") == [{"rollup": None}]


# check


def test_check_of_a_good_database(ready: str) -> None:
    before, counts = contents(ready), written(ready)
    ran = usage_jobs("check", "--json", url=ready)
    assert ran.code == 0
    levels = {finding["subject"]: finding["level"] for finding in ran.object["findings"]}
    assert levels["server"] == levels["usage_daily.cpu_hours"] == levels["schema rollup"] == "ok"
    assert "14 of 14 tables" in next(f["found"] for f in ran.object["findings"] if f["subject"] == "schema rollup")
    assert "refused" not in levels.values()
    assert {"level": "ok", "subject": "the next run", "expected": "open months",
            "found": "2026-05-01 to 2026-06-20", "consequence": "", "remedy": ""} in ran.object["findings"]  # fmt: skip
    assert (contents(ready), written(ready)) == (before, counts)


def test_check_names_what_is_left_out(ready: str) -> None:
    ran = usage_jobs("check", url=ready)
    assert ran.code == 0
    assert "usage_daily.instance_hours" in ran.out
    assert "The meter is" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 100


def test_check_says_that_the_next_run_has_no_price(ready: str, tmp_path: Path) -> None:
    configured(tmp_path, rates=RATES.replace("gpu_hours,2020-01-01", "gpu_hours,2026-06-01"))
    ran = usage_jobs("check", "--json", url=ready)
    assert ran.code == 5
    [finding] = [finding for finding in ran.object["findings"] if finding["level"] == "refused"]
    assert "no card of gpu_hours is effective on 2026-05-01" in finding["found"]


# run


COUNTED = """
SELECT count(*) AS rows, count(DISTINCT user_id) AS users FROM usage_daily
WHERE user_id IS NOT NULL AND date BETWEEN '2026-05-01' AND '2026-06-20'"""
"""What a first run reads."""


def test_a_second_run_writes_nothing(sample: str) -> None:
    first = usage_jobs("run", "--json", url=sample)
    assert (first.code, first.object["rows_rejected"]) == (3, 10)
    assert first.object["rows_changed"] == sum(first.object["changed"].values()) > 0
    [held] = ask(sample, COUNTED)
    assert (first.object["rows_read"], first.object["users_recomputed"]) == (held["rows"], held["users"])
    before, counts = contents(sample, but=["rollup.runs"]), written(sample)

    second = usage_jobs("run", "--json", url=sample)
    assert second.code == 3
    assert second.object["changed"].keys() == first.object["changed"].keys()
    assert set(second.object["changed"].values()) == {0}
    assert (second.object["rows_read"], second.object["users_recomputed"]) == (0, 0)
    [open_month] = ask(
        sample, "SELECT sum(total_cost)::text AS cost FROM rollup.user_monthly WHERE month = '2026-06-01'"
    )
    assert second.object["total_cost"] == open_month["cost"], "May is closed by the first run"
    assert contents(sample, but=["rollup.runs"]) == before
    after = written(sample)
    inserted, updated, deleted = counts["rollup.runs"]
    assert after == {**counts, "rollup.runs": (inserted + 1, updated + 1, deleted)}


CHANGES = """
    UPDATE usage_daily SET cpu_hours = cpu_hours + 1 WHERE user_id = 'auth0|demo-mover' AND date = '2026-06-10';
    UPDATE usage_daily SET gpu_hours = 1 WHERE gpu_hours = 'Infinity';
    DELETE FROM usage_daily WHERE user_id = 'auth0|demo-penny';
    UPDATE usage_daily SET storage_gb = -1 WHERE user_id = 'auth0|demo-twice' AND date = '2026-06-11'
"""


@pytest.mark.thorough
@pytest.mark.parametrize("cost", ["recorded", "rated"])
def test_a_dry_run_writes_nothing_and_shows_what_would_change(
    sample: str, monkeypatch: pytest.MonkeyPatch, cost: str
) -> None:
    monkeypatch.setenv("USAGE_JOBS_COST", cost)
    for change in ("SELECT 1", CHANGES):  # the first run of all, and one that finds changes
        ask(sample, change)
        before = contents(sample)
        dry = usage_jobs("run", "--dry-run", "--json", url=sample)
        assert (dry.code, dry.object["run_id"]) == (3, None)
        assert contents(sample) == before
        real = usage_jobs("run", "--json", url=sample)
        same = (
            *("changed", "rows_read", "users_recomputed", "rows_rejected", "unpriced", "total_cost"),
            *("window_from", "window_to", "closed"),
        )
        assert {name: dry.object[name] for name in same} == {name: real.object[name] for name in same}
        assert real.object["rows_changed"] > 0


def test_the_summary_shows_what_was_done(sample: str) -> None:
    ran = usage_jobs("run", url=sample)
    told = dict(re.findall(r"^  (\S.*?)  +(.*)$", ran.out, re.MULTILINE))
    assert told["window"].strip() == "2026-05-01 to 2026-06-20, closes 2026-05"
    assert told["rejected"].strip() == "10 (see rollup.rejects)"
    [held] = ask(sample, COUNTED)
    assert told["users recomputed"].strip() == f"{held['users']} (rows read: {held['rows']})"
    assert "credit_draws " in told["rows changed"]
    assert told["total cost"].strip().endswith(" USD")
    assert told["note"].startswith("override ")
    assert max(map(len, ran.out.splitlines())) <= 100


# runs


def test_runs_are_listed_newest_first(ready: str) -> None:
    assert usage_jobs("runs", "--json", url=ready).object == {"runs": []}
    usage_jobs("run", "--date", "2026-06-19", url=ready)
    usage_jobs("run", url=ready)
    ask(ready, "DELETE FROM usage_daily")
    assert usage_jobs("run", url=ready).code == 5
    listed = usage_jobs("runs", "--json", url=ready).object["runs"]
    assert [(run["run_id"], run["status"], run["window_to"]) for run in listed] == [
        (3, "failed", "2026-06-20"),
        (2, "done", "2026-06-20"),
        (1, "done", "2026-06-19"),
    ]
    assert "0 rows where 2 were counted" in listed[0]["error"]
    assert (listed[1]["rows_read"], listed[1]["total_cost"]) == (2, "0.3000000000")
    assert len(usage_jobs("runs", "--json", "--limit", "2", url=ready).object["runs"]) == 2
    shown = usage_jobs("runs", url=ready)
    assert shown.code == 0
    assert "run 3: 2026-06: 0 rows where 2 were counted" in shown.out
    [who] = {run["who"] for run in listed}
    assert who.endswith(f"@{socket.gethostname()}")
    assert f"by {who}: 3, 2, 1\n" in shown.out


def test_a_dead_run_is_marked_crashed(ready: str) -> None:
    ask(
        ready,
        "INSERT INTO rollup.runs (kind, window_from, window_to, status, version)"
        " VALUES ('run', '2026-05-01', '2026-06-18', 'running', '0')",
    )
    assert usage_jobs("run", url=ready).code == 0
    newest, dead = usage_jobs("runs", "--json", url=ready).object["runs"]
    assert (newest["status"], dead["status"]) == ("done", "crashed")
    assert dead["error"] == "found running by a later run: its process has ended"


# explain


def explained(url: str, user: str, month: date) -> Explanation:
    settings = load_settings(None, {}, Path.cwd())
    with server_day(TODAY):
        return explain_month(settings, Address(job_url(url, lambda: settings)), user, month)


def charged(pieces: Iterable[PricedQuantity], days: int) -> Decimal:
    """What the pieces of a meter come to: one fraction, rounded once."""
    kept = ((piece, 1 - Fraction(piece.discount or 0) / 100) for piece in pieces)
    exact = sum((Fraction(p.quantity) * Fraction(p.price) / p.per * keep for p, keep in kept), Fraction(0)) / days
    return Decimal(round(exact * 10**10)).scaleb(-10)


def adds_up(told: Explanation) -> None:
    """A row's pieces make its charges, those and the adjustment its cost; all rows together make the sums."""
    for meter in told.units:
        month = monthrange(told.month.year, told.month.month)[1] if meter == "storage_gb" else 1
        for line in told.lines:
            pieces = [piece for piece in line.pieces if piece.meter == meter]
            assert charged(pieces, month) == sum(piece.charge for piece in pieces) == line.charges[meter]
            assert {piece.days for piece in pieces} <= {month if meter == "storage_gb" else None}
        assert sum((line.charges[meter] for line in told.lines), Decimal(0)) == told.sums[f"{meter}_cost"]
        held = sum((p.quantity for line in told.lines for p in line.pieces if p.meter == meter), Decimal(0))
        assert (held / month).quantize(Decimal("1e-10"), ROUND_HALF_EVEN) == told.sums[meter]
    for line in told.lines:
        assert sum(line.charges.values()) + line.adjustment == line.cost
    assert sum((line.cost for line in told.lines), Decimal(0)) == told.sums["total_cost"]
    assert len({line.day for line in told.lines}) == told.sums["days"]


@pytest.mark.parametrize(
    ("share", "variables"),
    [
        (0, {}),
        (1, {"USAGE_JOBS_COST": "rated", "USAGE_JOBS_TIERS": "month"}),
        (2, {"USAGE_JOBS_ZERO_MEANS": "free"}),
    ],
    ids=["default", "rated by month", "free zeros"],
)
def test_explain_agrees_with_the_roll_up(sample: str, tmp_path: Path, share: int, variables: dict[str, str]) -> None:
    """A third of the users each time; with EVERY_CASE=1 all."""
    (tmp_path / ".env.local").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    assert usage_jobs("run", url=sample).code == 3
    months = ask(sample, "SELECT * FROM rollup.user_monthly WHERE month >= %s", date(2026, 6, 1))
    assert len(months) == 13, "every user"
    for held in months if "EVERY_CASE" in os.environ else months[share::3]:
        told = explained(sample, held["user_id"], held["month"])
        assert told.agrees is True, (held["user_id"], held["month"])
        assert told.sums == {name: held[name] for name in told.sums}
        assert told.rollup == told.sums
        assert {"days", "cpu_hours", "storage_gb_cost", "adjustment_cost", "total_cost"} <= told.sums.keys()
        adds_up(told)
        assert {row.id: row.reason for row in told.rejected} == rejected(sample, held["user_id"], held["month"])


def rejected(url: str, user: str, month: date) -> dict[str, str]:
    of_month = "row ->> 'user_id' = %s AND row ->> 'date' LIKE %s"
    text = f"SELECT usage_daily_id::text AS id, reason FROM rollup.rejects WHERE {of_month}"
    return {row["id"]: row["reason"] for row in ask(url, text, user, f"{month:%Y-%m}%")}


@pytest.mark.thorough
def test_explain_for_a_person_shows_tiers_days_and_rejected_rows_in_80_columns(sample: str) -> None:
    assert usage_jobs("run", url=sample).code == 3
    users = {row["user_id"] for row in ask(sample, "SELECT user_id FROM rollup.user_monthly")}
    shown = {user: usage_jobs("explain", "--user", user, "--month", "2026-06", url=sample).out for user in users}
    assert max(max(map(len, text.splitlines())) for text in shown.values()) <= 80
    tiers = " ".join(shown["auth0|demo-tiers"].split())
    assert re.search(r"storage_gb: 10 GB × [\d.]+ ÷ 30 days", tiers)
    assert re.search(r"storage_gb: 90 GB above 10 × [\d.]+", tiers)
    days = re.split(r"(?m)^(?=2026-06-\d\d, cluster)", shown["auth0|demo-tiers"])[1:]
    for day in days:
        charges = map(Decimal, re.findall(r"(?m)^ +([\d.]+) +\w+: .* \(line \d+:", day))
        [cost] = re.findall(r"(?m)^ +([\d.]+) +cost", day)
        assert sum(charges) == Decimal(cost), day
    assert len(days) == 20
    for user in users:
        for id_, reason in rejected(sample, user, date(2026, 6, 1)).items():
            assert f"row {id_} rejected, not priced: {reason}" in " ".join(shown[user].split())


def test_explain_names_tiers_and_overrides(sample: str) -> None:
    usage_jobs("run", url=sample)
    told = explained(sample, "auth0|demo-override", date(2026, 6, 1))
    overrides = {f"override {row['id']}" for row in ask(sample, "SELECT id FROM user_pricing_overrides")}
    for meter in ("cpu_hours", "gpu_hours"):
        reasons = {piece.because for line in told.lines for piece in line.pieces if piece.meter == meter}
        assert reasons & overrides
        assert any("list price" in reason for reason in reasons - overrides)
    tiers = explained(sample, "auth0|demo-tiers", date(2026, 6, 1))
    starts = {int(p.tier_from) for line in tiers.lines for p in line.pieces if p.meter == "storage_gb"}
    assert starts == {0, 10, 100, 1_000, 10_000}


@pytest.mark.thorough
@pytest.mark.parametrize("change", ["UPDATE usage_daily SET cpu_hours = 5", "DELETE FROM usage_daily"])
def test_explain_notices_what_has_changed_since(ready: str, change: str) -> None:
    usage_jobs("run", url=ready)
    assert usage_jobs(*EXPLAIN, "--json", url=ready).object["agrees"] is True
    ask(ready, change)
    ran = usage_jobs(*EXPLAIN, "--json", url=ready)
    assert (ran.code, ran.object["agrees"]) == (0, False)
    assert "The roll-up differs" in usage_jobs(*EXPLAIN, url=ready).out


def test_explain_of_a_month_to_come(ready: str) -> None:
    usage_jobs("run", url=ready)
    ran = usage_jobs("explain", "--user", "ada", "--month", "2026-07", url=ready)
    assert ran.code == 2
    assert "--month 2026-07: no run has covered a day of it yet; the last was 2026-06-20" in ran.err


# demo


def test_the_demo_and_what_it_says_to_try_next(server_directory: Path) -> None:
    home = server_directory.parent / "demo"
    size = ("demo", "--users", "12", "--days", "40", "--dir", str(home))
    ran = usage_jobs(*size, "--json")
    assert ran.code == 0, ran.err
    first, second = ran.object["runs"]
    assert (first["rows_rejected"], first["closed"]) == (10, ["2026-05-01"])
    assert first["rows_changed"] > 0
    assert set(second["changed"].values()) == {0}
    assert first["window_to"] == str(TODAY - timedelta(days=1))
    assert {row["month"] for row in ran.object["user_monthly"]} == {"2026-05", "2026-06"}

    # Again in the same directory: filled anew, and told to a person.
    told = usage_jobs(*size)
    assert told.code == 0, told.err
    shown, tries = told.out.split("Try next:")
    assert max(map(len, shown.splitlines())) <= 100
    for table in ("user_monthly", "cluster_monthly", "rejects"):
        assert f"rollup.{table}" in shown
    assert [line.strip() for line in tries.strip().splitlines()] == ran.object["next"]
    words = [shlex.split(command) for command in ran.object["next"]]
    assert {(name, command) for name, command, *_ in words} == {
        ("usage-jobs", command)
        for command in ("explain", "export", "statement", "report", "reconcile", "check", "runs", "run")
    }
    for _, *arguments in words:
        assert usage_jobs(*arguments).code in (0, 3), arguments
    assert {path.name for path in home.iterdir()} >= {"usage.csv", "statement.html", "report.html"}


def test_the_demo_leaves_other_peoples_directories_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    ran = usage_jobs("demo", "--dir", str(tmp_path))
    assert ran.code == 2
    assert f"{tmp_path}: not empty, and not made by usage-jobs demo" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
