"""What bad input gets: the exact exit code, and words that name the culprit."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
from commands import CLUSTER, DAY, RATES, Ran, add_usage, ask, configured, contents, costs, insert, usage_jobs
from shrinking import allowing
from ways import job_url

from jobs.postgres.connections import Connection, connect
from jobs.postgres.conninfo import Address
from jobs.settings import load

HOURS = ("cpu_hours", "gpu_hours", "storage_gb", "total_cost")
CALLS = ("feature_store_api_calls", "model_inference_calls")
BAD = [
    *((column, bad) for column in HOURS for bad in ("NaN", "-0.01")),
    *((column, bad) for column in CALLS for bad in ("-1", "100000001")),
]
BAD_WITHOUT_BOUNDS = [(column, bad) for column in HOURS for bad in ("Infinity", "-Infinity", "100000000.01")]
"""What the columns of shape A can hold besides."""
NOBODYS: list[tuple[str, str | None, str]] = [
    ("user_id", None, "user_id is null: expected the user who is to pay"),
    ("date", None, "date is null: expected a day"),
    ("date", "infinity", "date is infinity: expected a day"),
    ("date", "-infinity", "date is -infinity: expected a day"),
]
ONE_HOUR = Decimal("0.1")
"""What the row of ``add_usage`` costs."""


@pytest.fixture(params=["a", "b"])
def either(request: pytest.FixtureRequest, make_database: Callable[..., str]) -> str:
    """A database of shape A, and one of shape B, ready for a run."""
    return make_database(request.param, ready=True)


def rejects(url: str) -> dict[UUID, str]:
    return {
        row["usage_daily_id"]: row["reason"] for row in ask(url, "SELECT usage_daily_id, reason FROM rollup.rejects")
    }


@contextmanager
def untouched(url: str) -> Iterator[None]:
    """Nothing is written, not even a line in rollup.runs."""
    before = contents(url)
    yield
    assert contents(url) == before


def refused(url: str, code: int, *words: str, command: tuple[str, ...] = ("run",)) -> str:
    """What the command says, which must end with ``code``, ``words`` and no result."""
    ran = usage_jobs(*command, url=url)
    assert (ran.code, ran.out) == (code, ""), ran.err
    for word in words:
        assert word in ran.err
    return ran.err


# Rows


@pytest.mark.parametrize("shape", ["a", "b"])
def test_rows_that_nothing_can_be_charged_for(make_database: Callable[..., str], shape: str) -> None:
    """Each value of each column alone in its row; rows of nobody, and of no day."""
    url = make_database(shape, ready=True)
    add_usage(url)
    reasons = {}
    for number, (column, bad) in enumerate([*BAD, *(BAD_WITHOUT_BOUNDS if shape == "a" else ())]):
        culprit = add_usage(url, user_id="bob", date=date(2026, 6, 1 + number % 20), **{column: bad})
        reasons[culprit] = f"{column} is {bad}: expected a number from 0 to 100000000"
    for column, none, reason in NOBODYS:
        reasons[add_usage(url, **{"user_id": "eve", column: none})] = reason
    ran = usage_jobs("run", "--json", url=url)
    # A row without a day, or of one that never comes, is of no month that could be read.
    assert (ran.code, ran.object["rows_rejected"]) == (3, len(reasons))
    assert rejects(url) == reasons
    assert costs(url) == {"ada": ONE_HOUR, "bob": 0}, "a user all of whose rows are rejected has a row of zeros"


def test_the_most_that_is_taken_is_max_quantity(ready: str) -> None:
    add_usage(ready)
    add_usage(ready, cpu_hours=100_000_000)
    assert usage_jobs("run", url=ready).code == 0
    assert usage_jobs("run", url=ready, USAGE_JOBS_MAX_QUANTITY="99999999").code == 3
    assert list(rejects(ready).values()) == ["cpu_hours is 100000000: expected a number from 0 to 99999999"]


@pytest.mark.thorough
def test_a_rated_cost_is_ours_and_never_judged(ready: str) -> None:
    """Neither one that the job has written, although it is more than max_quantity, nor one that others have."""
    rated: Any = {"USAGE_JOBS_COST": "rated", "USAGE_JOBS_MAX_QUANTITY": "10000"}
    dear = {"resource_type": "cpu_hours", "override_price": 7, "valid_from": "2026-06-01"}
    insert(ready, "user_pricing_overrides", user_id="ada", **dear)
    add_usage(ready, cpu_hours=10_000)
    assert usage_jobs("run", url=ready, **rated).code == 0
    before = costs(ready)
    assert before["ada"] > 10_000
    assert usage_jobs("run", "--full", "--json", url=ready, **rated).object["rows_changed"] == 0
    for found in ("NaN", "-1", "500000000"):
        ask(ready, f"UPDATE usage_daily SET total_cost = '{found}'")
        told = usage_jobs("run", "--json", url=ready, **rated)
        assert (told.code, told.object["changed"]["usage_daily"], costs(ready)) == (0, 1, before)
    assert [row["total_cost"] for row in ask(ready, "SELECT total_cost FROM usage_daily")] == [before["ada"]]


def test_a_reject_keeps_its_row_and_last_seen_moves_with_it(ready: str) -> None:
    add_usage(ready, cpu_hours=-1, hopsworks_cluster_id=CLUSTER, storage_gb="1.50")
    usage_jobs("run", url=ready)
    [reject] = ask(ready, "SELECT row FROM rollup.rejects")
    kept = {"user_id": "ada", "date": "2026-06-20", "cpu_hours": -1, "storage_gb": 1.5}
    assert {name: reject["row"][name] for name in kept} == kept, "the row as it was"
    before = contents(ready, but=["rollup.runs"])
    again = usage_jobs("run", "--json", url=ready)
    assert (again.code, set(again.object["changed"].values())) == (3, {0})
    assert contents(ready, but=["rollup.runs"]) == before

    ask(ready, "UPDATE usage_daily SET cpu_hours = -2")
    assert usage_jobs("run", "--json", url=ready).object["changed"]["rejects"] == 1
    [seen] = ask(ready, "SELECT reason, last_seen > first_seen AS moved FROM rollup.rejects")
    assert seen == {"reason": "cpu_hours is -2: expected a number from 0 to 100000000", "moved": True}


HEALED: list[tuple[dict[str, object], str, Decimal]] = [
    ({"cpu_hours": "NaN"}, "UPDATE usage_daily SET cpu_hours = 2 WHERE id = %s", 2 * ONE_HOUR),
    ({"user_id": None}, "UPDATE usage_daily SET user_id = 'bob' WHERE id = %s", ONE_HOUR),
    ({"date": None}, "UPDATE usage_daily SET date = '2026-06-03' WHERE id = %s", ONE_HOUR),
    ({"date": "infinity"}, "UPDATE usage_daily SET date = '2026-06-01' WHERE id = %s", ONE_HOUR),
    ({"date": "-infinity"}, "DELETE FROM usage_daily WHERE id = %s", Decimal(0)),
    ({"gpu_hours": -1}, "DELETE FROM usage_daily WHERE id = %s", Decimal(0)),
]


def test_healed_rows_leave_by_themselves(either: str) -> None:
    ask(either, "INSERT INTO users (id) VALUES ('bob') ON CONFLICT DO NOTHING")
    days = [date(2026, 6, 10 + number) for number in range(len(HEALED))]
    culprits = [
        add_usage(either, **{"user_id": "bob", "date": day, **bad})
        for day, (bad, _, _) in zip(days, HEALED, strict=True)
    ]
    assert usage_jobs("run", url=either).code == 3
    assert rejects(either).keys() == set(culprits)
    for culprit, (_, heal, _) in zip(culprits, HEALED, strict=True):
        ask(either, heal, culprit)
    assert usage_jobs("run", url=either).code == 0
    assert rejects(either) == {}
    assert costs(either) == {"bob": sum(cost for _, _, cost in HEALED)}


def test_a_dry_run_counts_the_rejects_of_the_run(ready: str) -> None:
    """Those that come, heal or change, and a row of nobody, which is in no batch."""
    healed, changed = (add_usage(ready, user_id=user, cpu_hours=-1) for user in ("ada", "eve"))
    usage_jobs("run", url=ready)
    ask(ready, "UPDATE usage_daily SET cpu_hours = 1 WHERE id = %s", healed)
    ask(ready, "UPDATE usage_daily SET cpu_hours = -2 WHERE id = %s", changed)
    for user in ("bob", "bob", None):
        add_usage(ready, user_id=user, cpu_hours=-1)
    dry, run = (usage_jobs("run", "--json", *words, url=ready).object for words in (["--dry-run"], []))
    assert dry["rows_rejected"] == run["rows_rejected"] == 4
    assert dry["changed"] == run["changed"]


def test_null_quantities_and_clusters(either: str) -> None:
    """A null quantity is none at all; rows of no cluster have a row of their own."""
    charged = {"cpu_hours": "0.1", "gpu_hours": "0.5", "storage_gb": "0.0666666667", CALLS[0]: "0.1", CALLS[1]: "1"}
    held = {"gpu_hours": 1, "storage_gb": 30, CALLS[0]: 1000, CALLS[1]: 1000}
    for column in (*HOURS, *CALLS):
        add_usage(either, user_id=column, hopsworks_cluster_id=CLUSTER, **held | {column: None})
    add_usage(either, hopsworks_cluster_id=None, cpu_hours=2)
    assert usage_jobs("run", url=either).code == 0
    every = sum(map(Decimal, charged.values()))
    nulls = {column: every - Decimal(charged.get(column, "0")) for column in (*HOURS, *CALLS)}
    assert costs(either) == nulls | {"ada": 2 * ONE_HOUR}
    for table in ("cluster_daily", "cluster_monthly"):
        found = ask(either, f"SELECT cluster_id, cluster_name, total_cost FROM rollup.{table} ORDER BY 3")
        assert found == [
            {"cluster_id": None, "cluster_name": None, "total_cost": 2 * ONE_HOUR},
            {"cluster_id": CLUSTER, "cluster_name": "eu", "total_cost": sum(nulls.values())},
        ]


def test_unknown_users_and_clusters_are_priced_and_named(ready: str) -> None:
    """Each of two rows of a user and day counts."""
    add_usage(ready, user_id="auth0|nobody", hopsworks_cluster_id=CLUSTER)
    add_usage(ready, user_id="auth0|nobody", hopsworks_cluster_id=CLUSTER, cpu_hours=2)
    ask(ready, "DELETE FROM users")
    ask(ready, "DELETE FROM hopsworks_clusters")
    assert usage_jobs("run", url=ready).code == 0
    [month] = ask(ready, "SELECT user_id, days, cpu_hours, total_cost FROM rollup.user_monthly")
    assert month == {"user_id": "auth0|nobody", "days": 1, "cpu_hours": 3, "total_cost": 3 * ONE_HOUR}
    [cluster] = ask(ready, "SELECT cluster_id, cluster_name, total_cost FROM rollup.cluster_daily")
    assert cluster == {"cluster_id": CLUSTER, "cluster_name": None, "total_cost": 3 * ONE_HOUR}
    check = usage_jobs("check", "--json", url=ready)
    assert check.code == 0
    notes = [finding["found"] for finding in check.object["findings"] if finding["level"] == "note"]
    assert "unknown: auth0|nobody (2 rows)" in notes
    assert f"unknown: {CLUSTER} (2 rows)" in notes


# Rate cards


CPU = "cpu_hours,2020-01-01,0,0.10,1,list\n"


MISTAKES = [
    ("cpu_hours,2020-01-01,5,0.10,1,\n", "line 2: cpu_hours from 2020-01-01: the tiers start at 5; expected"),
    (
        CPU + "cpu_hours,2020-01-01,20,1,1,\ncpu_hours,2020-01-01,10,1,1,\n",
        "line 4: cpu_hours from 2020-01-01: unsorted tier_from 10 after 20 in line 3; expected ascending",
    ),
    (CPU + CPU, "line 3: cpu_hours from 2020-01-01: duplicate tier_from 0 after 0 in line 2; expected ascending"),
    (CPU + "cpu_hours,2020-01-01,7,1,1000,\n", "line 3: cpu_hours from 2020-01-01: per = 1000; expected 1 as in"),
    ("cpu_hours,2020-01-01,0,-0.10,1,\n", "line 2: price = '-0.10': expected a number of at least 0"),
    ("cpu_hours,2020-01-01,0,free,1,\n", "line 2: price = 'free': expected a number"),
    ("cpu_hours,2020-01-01,0,,1,\n", "line 2: price = '': expected a number"),
    ("cpu_hours,2020-01-01,0,NaN,1,\n", "line 2: price = 'NaN': is not a finite number"),
    ("cpu_hours,2020-01-01,0,Infinity,1,\n", "line 2: price = 'Infinity': is not a finite number"),
    ("cpu_hours,2020-01-01,0,0.12345678901,1,\n", "line 2: price = '0.12345678901': has more than 10 decimals"),
    ("cpu_hours,2020-01-01,0,1e-9999999,1,\n", "line 2: price = '1e-9999999': has more than 10 decimals"),
    ("cpu_hours,2020-01-01,0,10000001,1,\n", "line 2: price = '10000001': expected at most 10000000"),
    ("cpu_hours,2020-01-01,0,1e99,1,\n", "line 2: price = '1e99': is too large"),
    (CPU + "cpu_hours,2020-01-01,-1,0.10,1,\n", "line 3: tier_from = '-1': expected a number of at least 0"),
    (CPU + "cpu_hours,2020-01-01,some,0.10,1,\n", "line 3: tier_from = 'some': expected a number"),
    (CPU + "cpu_hours,2020-01-01,1e16,0.10,1,\n", "line 3: tier_from = '1e16': expected at most 1000000000000000"),
    (CPU + "cpu_hours,2020-01-01,1e30,0.10,1,\n", "line 3: tier_from = '1e30': is too large"),
    ("cpu_hours,2020-01-01,0,0.10,100,\n", "line 2: per = '100': expected 1 or 1000"),
    ("cpu_hours,soon,0,0.10,1,\n", "line 2: effective_from = 'soon': expected a day such as 2026-01-31"),
    ("cpu_hours,2026-02-30,0,0.10,1,\n", "line 2: effective_from = '2026-02-30': expected a day"),
    ("cpu_hourz,2020-01-01,0,0.10,1,\n", "line 2: unknown meter 'cpu_hourz'; the settings know cpu_hours, "),
    ("cpu_hours,2020-01-01,0,0.10\n", "line 2: expected 6 values"),
    ("", ": no card of cpu_hours is effective on 2026-05-01, the first day of the window"),
    ("cpu_hours,2026-05-02,0,0.10,1,\n", ": no card of cpu_hours is effective on 2026-05-01, the first day"),
]


def test_a_mistake_in_the_rate_card(ready: str, tmp_path: Path) -> None:
    header = "config/rates.csv line 1: expected the header meter,effective_from,"
    with untouched(ready):
        for instead, words in MISTAKES:
            configured(tmp_path, rates=RATES.replace(CPU, instead))
            refused(ready, 2, "config/rates.csv" + " " * words.startswith("line") + words)
        for rates, found in (("", "an empty file"), ("meter,price\ncpu_hours,1\n", "meter,price")):
            configured(tmp_path, rates=rates)
            refused(ready, 2, header, f"found {found}")
        configured(tmp_path, settings='rates = "prices.csv"\n')
        refused(ready, 2, "config/prices.csv: expected the rates file; found: No such file", "Give its path")


def test_an_optional_meter_needs_no_card(make_database: Callable[..., str]) -> None:
    url = make_database("b", ready=True)
    add_usage(url, instance_hours=5)
    assert usage_jobs("run", url=url).code == 0
    assert costs(url) == {"ada": ONE_HOUR}
    notes = [f for f in usage_jobs("check", "--json", url=url).object["findings"] if f["level"] == "note"]
    assert ("card of instance_hours (optional meter)", "none") in [(f["subject"], f["found"]) for f in notes]


# Settings


WRONG_SETTINGS = [
    ("cots = 'rated'\n", ["config/settings.toml: cots: unknown setting; expected one of ", "cost,"]),
    ("schema = 'public'\n", ["config/settings.toml: schema = 'public': expected another schema", "'rollup'"]),
    ("cost = 'guess'\n", ["config/settings.toml: cost = guess: expected 'recorded' or 'rated'"]),
    ("currency_scale = 'two'\n", ["config/settings.toml: currency_scale = two: ", "integer"]),
    ("max_shrink = 20\n", ["config/settings.toml: max_shrink = 20: ", "less than or equal to 1"]),
    ("max_quantity = 1e12\n", ["config/settings.toml: max_quantity = 1E+12: ", "less than or equal to 900000000"]),
    ("batch_rows = 0\n", ["config/settings.toml: batch_rows = 0: ", "greater than or equal to 1"]),
    ("start = 'spring'\n", ["config/settings.toml: start = spring: ", "date"]),
    ("currency = 'dollars'\n", ["config/settings.toml: currency = dollars: "]),
    ("schema = 'roll$up'\n", ["config/settings.toml: schema = roll$up: expected the name of a schema: at most 63"]),
    (f"source_schema = '{'é' * 32}'\n", ["config/settings.toml: source_schema = é", "at most 63 bytes"]),
    ("cost = recorded\n", ["config/settings.toml: expected TOML: ", "line 1"]),
    ("address = 'postgresql://u:s3cret@h/db'\n", ["config/settings.toml: address: unknown", "DATABASE_URL"]),
    ("meters = 5\n", ["config/settings.toml: meters: expected tables such as [meters.cpu_hours]; found 5"]),
    ("[meters]\n", ["config/settings.toml: meters: expected tables such as [meters.cpu_hours]"]),
    ("[meters]\ncpu_hours = 5\n", ["config/settings.toml: meters.cpu_hours = 5: "]),
    ("[meters.cpu_hours]\ncolum = 'x'\n", ["config/settings.toml: meters.cpu_hours.colum: unknown", "column"]),
    ("[meters.cpu_hours]\nkind = 'stock'\n", ["config/settings.toml: meters.cpu_hours.kind = stock: ", "'level'"]),
    ("[meters.cpu_hours]\ncolumn = 7\n", ["config/settings.toml: meters.cpu_hours.column = 7: ", "string"]),
    ("[meters.total_cost]\n", ["config/settings.toml: [meters.total_cost]: expected lower-case letters"]),
    ("[meters.users]\n", ["config/settings.toml: [meters.users]: expected ", "none of ", "users"]),
    ("[meters.disk_stored]\n", ["config/settings.toml: [meters.disk_stored]: expected ", "_days or _stored"]),
    ("[meters._disk]\n", ["config/settings.toml: [meters._disk]: expected ", "beginning with a letter"]),
    ("[meters.'CPU hours']\n", ["config/settings.toml: [meters.CPU hours]: expected lower-case letters"]),
]
WRONG_VARIABLES = [
    ("USAGE_JOBS_COTS", "rated", "USAGE_JOBS_COTS: cots: unknown setting; expected one of "),
    ("USAGE_JOBS_COST", "guess", "USAGE_JOBS_COST: cost = guess: expected 'recorded' or 'rated'"),
    ("USAGE_JOBS_METERS__CPU_HOURS__KIND", "x", "USAGE_JOBS_METERS__CPU_HOURS__KIND: meters.cpu_hours.kind = x: "),
    ("USAGE_JOBS_COST__X", "1", "USAGE_JOBS_COST__X: cost is a value, not a table"),
    ("USAGE_JOBS_RATES", "none.csv", "none.csv: expected the rates file; found: No such file"),
]


def test_a_mistake_in_the_settings(ready: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with untouched(ready):
        for settings, words in WRONG_SETTINGS:
            configured(tmp_path, settings=settings)
            assert "s3cret" not in refused(ready, 2, *words)
        configured(tmp_path, settings="cost = 'recorded'\n")
        for variable, value, told in WRONG_VARIABLES:
            with monkeypatch.context() as patch:
                patch.setenv(variable, value)
                refused(ready, 2, told)
        words = ["elsewhere.toml: expected the settings file; found: No such file"]
        refused(ready, 2, *words, command=("run", "--config", "elsewhere.toml"))


# The database's shape


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "ALTER TABLE usage_daily DROP COLUMN gpu_hours",
            ["usage_daily.gpu_hours", "a number", "no such column (there are: cpu_hours, ", "storage_gb"],
        ),
        (
            "ALTER TABLE usage_daily ALTER COLUMN total_cost TYPE double precision",
            ["usage_daily.total_cost", "numeric", "double precision", "could not be read exactly"],
        ),
        ("ALTER TABLE usage_daily RENAME TO usage_hourly", ["usage_daily", "no such table", "users", "public"]),
        ("DROP SCHEMA rollup CASCADE", ["schema rollup", "none of them", "usage-jobs schema --apply"]),
    ],
)
def test_a_database_of_another_shape(ready: str, change: str, words: list[str]) -> None:
    """Of columns and types test_drift.py knows more."""
    add_usage(ready)
    ask(ready, change)
    before = contents(ready)
    for command in ("run", "check"):
        ran = usage_jobs(command, "--json", url=ready)
        assert ran.code == 5
        told = " ".join(ran.object["error"].split()) if command == "run" else str(ran.object["findings"])
        for word in words:
            assert word in told
    assert contents(ready) == before


def test_another_schema_is_named(ready: str) -> None:
    ran = usage_jobs("run", url=ready, USAGE_JOBS_SOURCE_SCHEMA="app")
    assert ran.code == 5
    assert (
        "usage_daily: expected a table in schema app; found no such table (none of the tables found there)" in ran.err
    )


# The connection


@contextmanager
def refused_port() -> Iterator[int]:
    """A port that is taken, so that nobody else gets it, and that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


SECRET, ENCODED = "p@ss/w%rd#1", "p%40ss%2Fw%25rd%231"


@pytest.mark.parametrize(
    "words", [("run",), ("check", "--json"), ("runs", "--json"), ("schema", "--apply")], ids=" ".join
)
def test_a_server_that_is_down(words: tuple[str, ...]) -> None:
    with refused_port() as port:
        ran = usage_jobs(*words, url=f"postgresql://job:{ENCODED}@127.0.0.1:{port}/app")
        unreachable(ran, f"job@127.0.0.1:{port}/app", "refused", as_json="--json" in words)


def test_a_host_that_does_not_exist() -> None:
    ran = usage_jobs("run", url=f"postgresql://job:{ENCODED}@no-such-host.invalid:5432/app")
    unreachable(ran, "job@no-such-host.invalid:5432/app", "", as_json=False)


def test_a_wrong_password(database: str) -> None:
    parts = urlsplit(database)
    wrong = parts._replace(netloc=f"{parts.username}:{ENCODED}@{parts.hostname}:{parts.port}").geturl()
    try:
        psycopg.connect(wrong).close()
        pytest.skip("this server asks for no password")
    except psycopg.OperationalError:
        ran = usage_jobs("run", "--json", url=wrong)
    unreachable(ran, f"{parts.hostname}:{parts.port}", "password authentication failed", as_json=True)


def unreachable(ran: Ran, host: str, reason: str, *, as_json: bool) -> None:
    assert ran.code == 5, ran.err
    assert f"cannot reach the database {host}" in ran.err.replace("postgres@127", "127")
    assert reason in ran.err
    assert "cannot reach the database" in ran.err
    for text in (ran.out, ran.err):
        assert SECRET not in text
        assert ENCODED not in text
    assert (ran.object["exit_code"] == 5) if as_json else (ran.out == "")


def test_no_database_is_named() -> None:
    ran = usage_jobs("run")
    assert (ran.code, ran.out) == (2, "")
    assert "expected DATABASE_URL" in ran.err
    assert "usage-jobs demo" in ran.err


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("mysql://job:s3cret@db/app", "expected an address such as postgresql://"),
        ("host=db password=s3cret", "expected an address such as postgresql://"),
        ("postgresql://job:s3cret/%41@db/app", "expected special characters of the password URL-encoded"),
        ("postgresql://job:x@s3cret%40@db/app", "expected special characters of the password URL-encoded"),
        ("postgresql://job:x@s3cret/z?q=1@db/app", "expected special characters of the password URL-encoded"),
        ("postgresql://job:s3cret@db/a@b", "expected special characters of the password URL-encoded"),
        (
            "postgresql://job:[YOUR-PASSWORD]@db/app",
            "expected the value of your project; found the dashboard's placeholder",
        ),
    ],
)
def test_an_address_that_is_none(address: str, words: str) -> None:
    ran = usage_jobs("run", "--json", url=address)
    assert ran.code == 2
    assert f"DATABASE_URL: {words}" in ran.err
    assert "s3cret" not in ran.err + ran.out


def test_an_unexpected_failure_shows_no_password(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    def fail(address: Address, *_: object) -> None:
        given.append(address.url)
        raise RuntimeError(f"cannot parse {address.url}")

    monkeypatch.setattr("jobs.postgres.connections.query_database", fail)
    for options in ((), ("--json",)):
        ran = usage_jobs("runs", *options, url=database)
        assert ran.code == 1
        assert "RuntimeError: cannot parse postgresql://" in ran.err
        assert (urlsplit(given[0]).password or "none") not in ran.err + ran.out


# Days


WRONG_DAYS = [
    ("2026-06-21", "--date 2026-06-21: expected yesterday (2026-06-20 UTC) or earlier"),
    ("2027-01-01", "--date 2027-01-01: expected yesterday (2026-06-20 UTC) or earlier"),
    ("tomorrow", "--date: 'tomorrow' is not a day; expected one such as 2026-01-31"),
    ("2026-02-29", "--date: '2026-02-29' is not a day; expected one such as 2026-01-31"),
    ("", "--date: '' is not a day; expected one such as 2026-01-31"),
]


def test_a_day_that_cannot_be_run(ready: str) -> None:
    add_usage(ready)
    with untouched(ready):
        for day, words in WRONG_DAYS:
            refused(ready, 2, words, command=("run", "--date", day))


def test_a_day_in_a_closed_month(ready: str) -> None:
    add_usage(ready)
    assert usage_jobs("run", url=ready, today=date(2026, 7, 5)).code == 0
    before = contents(ready)
    for day, why in (("2026-06-20", "closed by an earlier run"), ("2026-05-31", "before the first open month")):
        ran = usage_jobs("run", "--date", day, url=ready, today=date(2026, 7, 6))
        assert ran.code == 2
        assert f"--date {day}: {day[:7]} is closed ({why}" in ran.err
        assert "usage-jobs backfill" in ran.err
    assert contents(ready) == before


# Overrides


def override(url: str) -> UUID:
    """An override of ada's cpu_hours since January, still without a price and a discount; its id."""
    row = {"id": UUID(int=7), "user_id": "ada", "resource_type": "cpu_hours", "created_at": date(2026, 1, 1)}
    insert(url, "user_pricing_overrides", **row)
    if ask(
        url, "SELECT 1 FROM pg_attribute WHERE attrelid = 'user_pricing_overrides'::regclass AND attname = 'valid_from'"
    ):
        ask(url, "UPDATE user_pricing_overrides SET valid_from = created_at")
    return UUID(int=7)


WRONG_OVERRIDES = (
    *(("override_price", bad, 10_000_000) for bad in ("-0.01", "NaN")),
    *(("discount_percentage", bad, 100) for bad in ("100.01", "-5.00", "NaN")),
)


@pytest.mark.thorough
def test_an_override_that_cannot_be_right_or_says_nothing(either: str) -> None:
    add_usage(either)
    id_ = override(either)
    with untouched(either):
        for column, bad, most in WRONG_OVERRIDES:
            ask(either, f"UPDATE user_pricing_overrides SET {column} = '{bad}'")
            words = f"user_pricing_overrides id {id_} (user ada): {column} = {bad}"
            refused(either, 2, words, f"expected a number from 0 to {most}")
            ask(either, f"UPDATE user_pricing_overrides SET {column} = NULL")
    ran = usage_jobs("run", "--json", url=either)
    assert ran.code == 0
    word = f"override {id_} of user ada ignored: it has neither override_price nor discount_percentage"
    assert ran.object["notes"] == [word]
    assert costs(either) == {"ada": ONE_HOUR}


@pytest.mark.thorough
def test_an_override_of_a_type_that_no_meter_has(ready: str) -> None:
    """It is named with its user and the types that there are, by a run, a dry run, a backfill and `check`."""
    add_usage(ready)
    id_ = override(ready)
    ask(
        ready,
        "ALTER TABLE user_pricing_overrides DROP CONSTRAINT IF EXISTS user_pricing_overrides_resource_type_check",
    )
    ask(ready, "UPDATE user_pricing_overrides SET resource_type = 'gpu_hour', override_price = 1")
    word = f"override {id_} of user ada has no effect: its resource_type is 'gpu_hour'; expected one that a meter has: "
    types = "api_calls, cpu_hours, feature_store_api_calls, gpu_hours, "
    for command in (("run", "--dry-run"), ("run",), ("backfill", "--from", "2026-06-20", "--to", "2026-06-20")):
        ran = usage_jobs(*command, "--json", url=ready)
        assert (ran.code, ran.object["exit_code"], ran.object["overrides_unanswered"]) == (3, 3, 1)
        assert ran.object["notes"][0].startswith(word + types)
    assert costs(ready) == {"ada": ONE_HOUR}
    found = [finding["found"] for finding in usage_jobs("check", "--json", url=ready).object["findings"]]
    assert any(text.startswith(word) for text in found)
    ask(ready, "UPDATE user_pricing_overrides SET resource_type = 'instance_hours'")
    ran = usage_jobs("run", "--json", url=ready)
    assert (ran.code, ran.object["notes"][0].split(":")[0]) == (0, "price overrides of instance_hours have no effect")
    ask(ready, "UPDATE user_pricing_overrides SET resource_type = 'gpu_hour', valid_until = '2026-02-01'")
    assert usage_jobs("run", url=ready).code == 0, "it ended before the window"


# Another run, and what has vanished


def test_another_run_holds_the_lock(ready: str) -> None:
    add_usage(ready)
    with psycopg.connect(ready) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtext('usage-jobs'), hashtext('rollup'))")
        with untouched(ready):
            refused(ready, 4, "another run holds the lock of schema rollup: a run that is just starting")
            assert usage_jobs("run", "--dry-run", url=ready).code == 0, "a dry run needs no lock"
        other.commit()
        other.execute("SELECT pg_advisory_xact_lock(hashtext('usage-jobs'), hashtext('elsewhere'))")
        assert usage_jobs("run", url=ready).code == 0, "the lock of another schema is another"


def test_the_lock_is_free_the_moment_a_run_ends(ready: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(None, {}, Path.cwd())
    with connect(Address(job_url(ready, lambda: settings))) as connection, monkeypatch.context() as patch:
        # A server notices only later that a client has closed its connection: here while the next run starts.
        patch.setattr(connection, "close", lambda: None)

        def guards(address: Address, name: str) -> Connection:
            return connection if "guard" in name else connect(address, name)

        patch.setattr("jobs.postgres.connections.connect", guards)
        assert usage_jobs("run", url=ready).code == 0
        patch.setattr("jobs.postgres.connections.connect", connect)
        assert usage_jobs("run", url=ready).code == 0


def crowd(url: str, users: int, days: int) -> None:
    """One row for each of so many users and days of June."""
    rows = f"generate_series(1, {users}) AS u, generate_series(1, {days}) AS d"
    ask(url, f"INSERT INTO users (id) SELECT 'user ' || u FROM generate_series(1, {users}) AS u ON CONFLICT DO NOTHING")
    ask(
        url,
        "INSERT INTO usage_daily (user_id, date, cpu_hours)"
        f" SELECT 'user ' || u, date '2026-06-01' + d - 1, 1 FROM {rows}",
    )


BRAKED = [
    ("a", (1, 1), "true", "0 rows where 1 were counted, 0 users where 1 were"),
    (
        "b",
        (101, 5),
        "date = '2026-06-01' or user_id = 'user 1'",
        "400 rows where 505 were counted, 100 users where 101 were",
    ),
    ("a", (504, 1), "substr(user_id, 6)::int <= 101", "403 rows where 504 were counted, 403 users where 504 were"),
]


@pytest.mark.parametrize(("shape", "size", "gone", "words"), BRAKED)
def test_the_shrink_check(
    make_database: Callable[..., str], shape: str, size: tuple[int, int], gone: str, words: str
) -> None:
    either = make_database(shape, ready=True)
    crowd(either, *size)
    assert usage_jobs("run", url=either).code == 0
    ask(either, f"DELETE FROM usage_daily WHERE {gone}")
    before = contents(either, but=["rollup.runs"])
    for options in ((), ("--dry-run",)) if shape == "b" else ((),):
        ran = usage_jobs("run", *options, url=either)
        assert ran.code == 5
        assert "2026-06: " in ran.err
        assert words in ran.err
    assert contents(either, but=["rollup.runs"]) == before
    allowed = allowing(ran.err)
    for row in ask(either, "SELECT * FROM usage_daily LIMIT 1"):
        ask(either, "DELETE FROM usage_daily WHERE id = %s", row["id"])
        more = usage_jobs("run", *allowed, url=either)
        assert (more.code, "--allow-shrink 2026-06:" in more.err) == (5, True), "one more has gone"
        insert(either, "usage_daily", **row)
    assert usage_jobs("run", *allowed, url=either).code == 0
    left = ask(either, "SELECT count(*) * 0.1 AS cost FROM usage_daily")[0]["cost"]
    assert sum(costs(either).values()) == left


@pytest.mark.parametrize(
    ("size", "gone"),
    [
        ((100, 5), "substr(user_id, 6)::int > 80"),  # a fifth, not more; 100 rows, not more
        ((10, 12), "date > '2026-06-05'"),  # more than a fifth, but few
    ],
)
def test_what_the_shrink_check_lets_pass(ready: str, size: tuple[int, int], gone: str) -> None:
    crowd(ready, *size)
    assert usage_jobs("run", url=ready).code == 0
    ask(ready, f"DELETE FROM usage_daily WHERE {gone}")
    assert usage_jobs("run", url=ready).code == 0


@pytest.mark.thorough
def test_a_row_that_is_rejected_has_not_vanished(ready: str) -> None:
    """One that lost its user or its day has: it is nobody's, or of no month, and nothing of it can be counted."""
    id_ = add_usage(ready)
    assert usage_jobs("run", url=ready).code == 0
    before = contents(ready, but=["rollup.runs"])
    for column, value in (("user_id", "ada"), ("date", DAY)):
        ask(ready, f"UPDATE usage_daily SET {column} = NULL")
        ran = usage_jobs("run", url=ready)
        assert (ran.code, "0 rows where 1 were counted" in ran.err) == (5, True)
        ask(ready, f"UPDATE usage_daily SET {column} = %s WHERE id = %s", value, id_)
    assert contents(ready, but=["rollup.runs"]) == before
    ask(ready, "UPDATE usage_daily SET cpu_hours = 'NaN'")
    for command, cost in ((("run", "--dry-run"), ONE_HOUR), (("run",), 0)):
        ran = usage_jobs(*command, url=ready)
        assert ran.code == 3, ran.err
        assert costs(ready) == {"ada": cost}


@contextmanager
def role(url: str) -> Iterator[tuple[str, str]]:
    """A role that may do all that a run needs, and whose rows no policy shows: its name, and ``url`` as that role."""
    parts = urlsplit(url)
    name = f"role_of_{parts.path[1:]}"
    ask(url, f"CREATE ROLE {name} LOGIN PASSWORD 'pw'")
    try:
        ask(url, f"GRANT USAGE ON SCHEMA public, rollup TO {name}")
        ask(url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
        ask(url, f"GRANT ALL ON ALL TABLES IN SCHEMA rollup TO {name}")
        ask(url, f"GRANT UPDATE (credits_deducted) ON usage_daily TO {name}")
        ask(url, f"GRANT UPDATE (total_used, free_credits_used) ON user_credits TO {name}")
        ask(url, f"GRANT INSERT ON credit_transactions TO {name}")
        for table in ask(url, "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'rollup'"):
            ask(url, f"CREATE POLICY seen ON rollup.{table['name']} TO {name} USING (true)")
        yield name, parts._replace(netloc=f"{name}:pw@{parts.hostname}:{parts.port}").geturl()
    finally:
        ask(url, f"DROP OWNED BY {name}")
        ask(url, f"DROP ROLE {name}")


NEEDED = ("usage_daily", "user_pricing_overrides", "users", "user_credits", "credit_transactions")
SEEN = (*NEEDED, "hopsworks_clusters")


def test_row_level_security_that_hides_every_row(either: str) -> None:
    """Hidden names of clusters do not stop the job, but `check` notes them."""
    add_usage(either)
    with role(either) as (name, as_role):
        for command in ("run", "check"):
            ran = usage_jobs(command, "--json", url=as_role)
            assert ran.code == 5
            told = ran.object["error"] if command == "run" else str(ran.object["findings"])
            for hidden in NEEDED:
                assert f"{hidden}, row-level security" in told
            assert f"in force for role {name}, and no policy lets it " in told
        for table in NEEDED:
            ask(either, f"CREATE POLICY seen ON {table} TO {name} USING (true)")
        ran = usage_jobs("check", "--json", url=as_role)
        assert ran.code == 0
        assert "hopsworks_clusters, row-level security" in str(ran.object["findings"])
        assert usage_jobs("run", url=as_role).code == 0
    assert costs(either) == {"ada": ONE_HOUR}


def test_a_number_of_thousands_of_digits_is_a_reject_like_any_other(ready: str) -> None:
    add_usage(ready)
    ask(ready, "INSERT INTO usage_daily (user_id, date, cpu_hours) VALUES ('bob', '2026-06-19', 1e5000::numeric)")
    assert usage_jobs("run", url=ready).code == 3
    assert costs(ready) == {"ada": ONE_HOUR, "bob": 0}
    with psycopg.connect(ready) as connection:
        (reason,) = connection.execute("SELECT reason FROM rollup.rejects").fetchone() or ("",)
    assert reason == "cpu_hours is 1.000e+5000: expected a number from 0 to 100000000"


def test_a_policy_that_shows_no_row_meets_the_shrink_check(ready: str) -> None:
    add_usage(ready)
    with role(ready) as (name, as_role):
        for table in SEEN:
            ask(ready, f"CREATE POLICY seen ON {table} TO {name} USING (true)")
        assert usage_jobs("run", url=as_role).code == 0
        ask(ready, f"ALTER POLICY seen ON usage_daily TO {name} USING (false)")
        ran = usage_jobs("run", url=as_role)
    assert ran.code == 5
    assert "0 rows where 1 were counted" in ran.err
    assert "row-level policy" in ran.err
    assert costs(ready) == {"ada": ONE_HOUR}
