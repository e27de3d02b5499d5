"""Settings: who overrides whom, addresses from SUPABASE_ variables, and a password that nothing prints.

Mistakes in settings are in ``tests/integration/test_bad_input.py``, as an operator meets them.
"""

import re
import subprocess
import sys
import tomllib
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest
from commands import RATES, configured
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError

from jobs.docs import read_page
from jobs.domain.errors import ConfigError
from jobs.domain.meters import DEFAULTS
from jobs.postgres.conninfo import Address
from jobs.settings import Settings, load, passwords
from jobs.settings.database_url import address
from jobs.settings.tables import COMPUTED_FIELDS

ROOT = Path(__file__).parents[3]
RAW = "p@ss#w%rd/with:all?of ${HOME} & ünicode"
SUPABASE = {"SUPABASE_PROJECT_REF": "abcd", "SUPABASE_DB_PASSWORD": RAW, "SUPABASE_REGION": "eu-west-1"}


def settings(directory: Path, **env: str) -> Settings:
    return load(None, env, directory)


# Who overrides whom


def test_the_environment_then_env_local_then_the_file_then_the_default(tmp_path: Path) -> None:
    configured(tmp_path)
    assert settings(tmp_path).currency == "USD"
    configured(tmp_path, settings='currency = "EUR"\n')
    assert settings(tmp_path).currency == "EUR"
    (tmp_path / ".env.local").write_text("USAGE_JOBS_CURRENCY=SEK\n")
    assert settings(tmp_path).currency == "SEK"
    assert settings(tmp_path, USAGE_JOBS_CURRENCY="GBP").currency == "GBP"


def test_the_address_too(tmp_path: Path) -> None:
    assert settings(tmp_path).address is None
    (tmp_path / ".env.local").write_text("DATABASE_URL=postgresql://local/db\n")
    assert settings(tmp_path).address == "postgresql://local/db?sslmode=require"
    assert settings(tmp_path, DATABASE_URL="postgresql://env/db").address == "postgresql://env/db?sslmode=require"
    assert (
        settings(tmp_path, DATABASE_URL="postgresql://env/db", **SUPABASE).address
        == "postgresql://env/db?sslmode=require"
    )


def test_a_variable_of_a_meter_overrides_one_key_of_it(tmp_path: Path) -> None:
    configured(
        tmp_path, settings='[meters.cpu_hours]\ncolumn = "a"\nunit = "core h"\n', rates=RATES[: RATES.index("gpu")]
    )
    [cpu] = settings(tmp_path, USAGE_JOBS_METERS__CPU_HOURS__COLUMN="b").meters
    assert (cpu.column, cpu.unit) == ("b", "core h")


def test_a_variable_of_a_meter_leaves_the_other_meters(tmp_path: Path) -> None:
    configured(tmp_path)
    meters = {m.name: m for m in settings(tmp_path, USAGE_JOBS_METERS__CPU_HOURS__COLUMN="b").meters}
    assert meters.keys() == DEFAULTS.keys()
    assert meters["cpu_hours"].column == "b"
    assert meters["gpu_hours"] == DEFAULTS["gpu_hours"]


def test_what_ships_is_the_defaults(tmp_path: Path) -> None:
    shipped = settings(tmp_path)
    configured(tmp_path, rates=(ROOT / "config" / "rates.csv").read_text())
    bare = settings(tmp_path)
    differing = {name for name in Settings.model_fields if getattr(shipped, name) != getattr(bare, name)}
    assert differing == {"source", "rates", "rate_card"}, "the file names what the code does without it"
    assert shipped.rate_card.cards == bare.rate_card.cards
    assert shipped.meters == tuple(DEFAULTS.values())


def test_the_manual_has_the_defaults(tmp_path: Path) -> None:
    """Of numbers and words; the others are described."""
    found = settings(tmp_path).model_dump(by_alias=True)
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| `?([^|`]+)`? \|", read_page("settings"), re.MULTILINE)
    documented = {name: text.strip() for name, text in rows if name in found and text.strip() != "none"}
    assert documented == {name: str(found[name]) for name in documented} | {"rates": "rates.csv"}
    assert (
        documented.keys()
        >= {name for name, value in found.items() if isinstance(value, int | Decimal)} - COMPUTED_FIELDS
    )


def test_the_file_that_ships_names_every_setting() -> None:
    text = (ROOT / "config" / "settings.toml").read_text()
    every = {field.alias or name for name, field in Settings.model_fields.items()}
    internal = COMPUTED_FIELDS | {"embedded"}
    uncommented = re.sub("^# (start|rates|root_certificate) =", r"\1 =", text, flags=re.MULTILINE)
    assert tomllib.loads(uncommented).keys() == every - internal


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("cost", "rated", "rated"),
        ("max_shrink", "0.5", Decimal("0.5")),
        ("max_quantity", "900000000", Decimal(900_000_000)),
        ("close_after_days", "0", 0),
        ("schema", "billing", "billing"),
    ],
)
def test_variables_are_read_as_what_they_are(tmp_path: Path, variable: str, text: str, value: object) -> None:
    found = settings(tmp_path, **{f"USAGE_JOBS_{variable.upper()}": text})
    assert getattr(found, {"schema": "rollup_schema"}.get(variable, variable)) == value


@pytest.mark.parametrize("text", ["start = '2026-06'", "start = 2026-06-01", "start = '2026-06-01'"])
def test_start_may_be_a_month_or_a_day(tmp_path: Path, text: str) -> None:
    configured(tmp_path, settings=text + "\n")
    assert str(settings(tmp_path).start) == "2026-06-01"


def test_numbers_of_the_file_are_never_floats(tmp_path: Path) -> None:
    configured(tmp_path, settings="max_shrink = 0.1\n")
    assert settings(tmp_path).max_shrink == Decimal("0.1")


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    configured(tmp_path, settings='rates = "2026/rates.csv"\n')
    (tmp_path / "config" / "2026").mkdir()
    (tmp_path / "config" / "rates.csv").rename(tmp_path / "config" / "2026" / "rates.csv")
    assert settings(tmp_path).rates == tmp_path / "config" / "2026" / "rates.csv"
    assert settings(tmp_path).rate_card.source == "config/2026/rates.csv"


def test_paths_of_a_table_are_relative_to_the_file_or_for_a_variable_to_the_working_directory(tmp_path: Path) -> None:
    configured(tmp_path, settings='[reports]\nlogo = "logo.svg"\noperator = "Cloud plc"\n')
    found = settings(tmp_path, USAGE_JOBS_REPORTS__TEMPLATE="pages").reports
    assert (found.logo, found.template) == (tmp_path / "config" / "logo.svg", tmp_path / "pages")
    assert found.operator == "Cloud plc"
    assert "reports" not in settings(tmp_path).inputs["settings"], "no figure depends on it"


def test_reports_of_the_schedule_go_to_a_folder_or_to_an_address(tmp_path: Path) -> None:
    configured(tmp_path, settings='[schedule]\nreports = "reports"\n')
    assert settings(tmp_path).schedule.reports == str(tmp_path / "config" / "reports")
    variables = {"USAGE_JOBS_SCHEDULE__REPORTS": "s3://bucket/usage"}
    assert settings(tmp_path, **variables).schedule.reports == "s3://bucket/usage"


# Frozen, and not read at import


def test_settings_are_frozen(tmp_path: Path) -> None:
    found = settings(tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        found.cost = "rated"
    with pytest.raises(AttributeError):
        found.meters[0].column = "x"  # type: ignore[misc]


def test_nothing_is_read_at_import(tmp_path: Path) -> None:
    (tmp_path / ".env.local").write_text("USAGE_JOBS_COST=nonsense\n")
    configured(tmp_path, settings="nonsense")
    modules = (
        "jobs.cli.main, jobs.pipeline.run, jobs.pipeline.batches, jobs.audit.check, jobs.audit.explain, "
        "jobs.cli.output, jobs.demo.demo"
    )
    watch = f"""
import os, sys
class Watched(dict):
    def __getitem__(self, name):
        assert not os.fsdecode(name).startswith(("USAGE_JOBS", "SUPABASE", "DATABASE_URL")), name
        return super().__getitem__(name)
def hook(event, arguments):
    assert event != "open" or not str(arguments[0]).startswith({str(tmp_path)!r}), arguments
sys.addaudithook(hook)
os.environ._data = Watched(os.environ._data)
import {modules}
"""
    environment = {"USAGE_JOBS_COST": "nonsense", "DATABASE_URL": "nonsense", "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", watch], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# Addresses of SUPABASE_ variables


@pytest.mark.parametrize(
    ("way", "login", "place"),
    [
        (None, "postgres.abcd", "aws-0-eu-west-1.pooler.supabase.com:6543"),
        ("pooler", "postgres.abcd", "aws-0-eu-west-1.pooler.supabase.com:6543"),
        ("session", "postgres.abcd", "aws-0-eu-west-1.pooler.supabase.com:5432"),
        ("direct", "postgres", "db.abcd.supabase.co:5432"),
    ],
)
def test_the_three_ways(way: str | None, login: str, place: str) -> None:
    found = address(SUPABASE | ({"SUPABASE_CONNECTION": way} if way else {}))
    assert found is not None
    parts = urlsplit(found)
    assert (parts.scheme, parts.username, parts.path) == ("postgresql", login, "/postgres")
    assert f"{parts.hostname}:{parts.port}" == place
    assert unquote(parts.password or "") == RAW
    assert conninfo_to_dict(found)["password"] == RAW, "as libpq understands it"
    assert Address(found).has_pooler_port == place.endswith("6543")
    assert Address(found).is_session_pooler == (way == "session")


@pytest.mark.parametrize(
    "password", ["@", "#", "%", "%41", "/", ":", "a@b:5432/c", "[", "?x=y", "&", " ", "é", "'\"\\"]
)
def test_any_password(password: str) -> None:
    found = address(SUPABASE | {"SUPABASE_DB_PASSWORD": password})
    assert found is not None
    parts = conninfo_to_dict(found)
    assert (parts["password"], parts["host"]) == (password, "aws-0-eu-west-1.pooler.supabase.com")


@pytest.mark.parametrize("written", [f"'{RAW}'", RAW])
def test_a_raw_password_in_env_local_stays_raw(tmp_path: Path, written: str) -> None:
    (tmp_path / ".env.local").write_text(
        f"SUPABASE_PROJECT_REF=abcd\nSUPABASE_REGION=eu-west-1\nSUPABASE_DB_PASSWORD={written}\n", encoding="utf-8"
    )
    found = settings(tmp_path, HOME="/root").address
    assert found is not None
    assert conninfo_to_dict(found)["password"] == RAW
    assert RAW in passwords({}, tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"SUPABASE_REGION": ""}, "SUPABASE_REGION: not set, but SUPABASE_PROJECT_REF is and SUPABASE_CONNECTION is"),
        ({"SUPABASE_DB_PASSWORD": ""}, "SUPABASE_DB_PASSWORD: not set, but SUPABASE_PROJECT_REF is"),
        ({"SUPABASE_CONNECTION": "pooled"}, "SUPABASE_CONNECTION = 'pooled': expected one of pooler, session, direct"),
    ],
)
def test_what_is_missing_or_wrong_is_named(change: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        address(SUPABASE | change)
    assert refused.value.exit_code == 2
    assert RAW not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://job:a%40b%2Fc%25@db.example.com:5432/app?sslmode=require",
        "postgres://job:a:b#c[e@db/app?sslmode=disable",
        "postgresql://db/app?user=a@b.c&password=d@e&sslmode=require",
        "postgresql://localhost/app",
        "postgresql://[::1]:5433/app",
        "postgresql://",
    ],
)
def test_an_address_that_libpq_understands_is_taken_as_it_is(url: str) -> None:
    assert address({"DATABASE_URL": url}) == url


RAW_IN_ADDRESS = ("p@ss#1", "a/b", "100%", "%zz", "a b@c", "a:b@c", "?", "p/w@h:5432")


@pytest.mark.parametrize("password", RAW_IN_ADDRESS)
def test_a_raw_password_in_an_address_is_understood(password: str) -> None:
    found = address(
        {"DATABASE_URL": f"postgresql://postgres.abcd:{password}@aws-0-x.pooler.supabase.com:6543/postgres"}
    )
    parts = conninfo_to_dict(found or "")
    assert (parts["user"], parts["password"], parts["dbname"]) == ("postgres.abcd", password, "postgres")
    assert (parts["host"], parts["port"]) == ("aws-0-x.pooler.supabase.com", "6543")


@pytest.mark.parametrize(
    ("url", "env", "root", "expected"),
    [
        ("postgresql://db/app", {}, False, ("require", False)),
        ("postgresql://db/app", {}, True, ("verify-full", True)),
        ("postgresql://db,localhost/app", {}, True, ("verify-full", True)),
        ("postgresql://localhost/app", {}, True, (None, True)),
        ("postgresql://127.0.0.2:5433/app", {}, False, (None, False)),
        ("postgresql:///app?host=/tmp", {}, False, (None, False)),
        ("postgresql:///app?host=db", {}, False, ("require", False)),
        ("postgresql://u:p@[2001:db8::1]:5432/app", {}, False, ("require", False)),
        ("postgresql://db/app?sslmode=verify-ca", {}, True, ("verify-ca", True)),
        ("postgresql://db/app", {"PGSSLMODE": "disable"}, False, ("disable", False)),
        ("postgresql://localhost/app", {"PGSSLMODE": "require"}, False, ("require", False)),
    ],
)
def test_how_tls_is_used(
    tmp_path: Path, url: str, env: dict[str, str], root: bool, expected: tuple[str | None, bool]
) -> None:
    certificate = tmp_path / "a root.crt"
    certificate.write_text("")
    found = conninfo_to_dict(address({"DATABASE_URL": url, **env}, certificate if root else None) or "")
    assert (found.get("sslmode"), found.get("sslrootcert") == str(certificate)) == expected
    by_name = conninfo_to_dict(address({"DATABASE_URL": url, **env, "PGSSLROOTCERT": str(certificate)}) or "")
    assert by_name["sslrootcert"] == str(certificate)


def test_a_root_certificate_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"root certificate .*gone\.crt: expected a file"):
        address({"DATABASE_URL": "postgresql://db/app"}, tmp_path / "gone.crt")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://db/app?sslmode=require", "no one checks its certificate"),
        ("postgresql://db/app", "neither encryption nor the server's identity"),
        ("postgresql://db/app?sslmode=verify-ca", "any server with a certificate of that authority"),
        ("postgresql://db/app?sslmode=verify-full", None),
        ("postgresql://localhost/app", None),
        ("postgresql:///app", None),
    ],
)
def test_what_is_unsafe_is_said(url: str, words: str | None) -> None:
    warning = Address(url).warning
    assert (warning is None) if words is None else (warning is not None and words in warning)


def test_regions_of_newer_projects() -> None:
    found = address(SUPABASE | {"SUPABASE_REGION": "aws-1-eu-west-3"})
    assert conninfo_to_dict(found or "")["host"] == "aws-1-eu-west-3.pooler.supabase.com"
    with pytest.raises(ConfigError, match="SUPABASE_REGION: expected letters"):
        address(SUPABASE | {"SUPABASE_REGION": "eu west"})


def test_direct_needs_no_region() -> None:
    assert address(SUPABASE | {"SUPABASE_CONNECTION": "direct", "SUPABASE_REGION": ""})


def test_no_variable_at_all() -> None:
    assert address({}) is None
    assert address({"SUPABASE_DB_PASSWORD": RAW}) is None


# What nothing prints


@pytest.mark.parametrize(
    ("env", "written"),
    [
        ({"DATABASE_URL": "postgresql://job:p%40ss@h/d"}, {"p%40ss", "p@ss"}),
        ({"DATABASE_URL": "postgresql://job:p#s[s@h/d"}, {"p#s[s"}),
        ({"DATABASE_URL": "postgresql://h/d?user=job&password=p%40ss&sslmode=require"}, {"p%40ss", "p@ss"}),
        ({"SUPABASE_DB_PASSWORD": "p@ss"}, {"p%40ss", "p@ss"}),
        ({"SUPABASE_DB_PASSWORD": "p@ss\n"}, {"p%40ss", "p@ss"}),
        ({"DATABASE_URL": "postgresql://h/d?password=p%40ss\n"}, {"p%40ss", "p@ss"}),
        ({"DATABASE_URL": "postgresql://job:p\nss@h/d"}, {"p\nss"}),
        ({"DATABASE_URL": "postgresql://h/d"}, set()),
        ({}, set()),
    ],
)
def test_every_way_to_write_a_password_is_scrubbed(tmp_path: Path, env: dict[str, str], written: set[str]) -> None:
    assert written <= set(passwords(env, tmp_path))
    assert bool(written) == bool(passwords(env, tmp_path))


@pytest.mark.parametrize("env", [SUPABASE, {"DATABASE_URL": "postgresql://job:p%40ss@db.example.com:5433/app"}])
def test_nothing_prints_a_password(tmp_path: Path, env: dict[str, str]) -> None:
    found = settings(tmp_path, **env)
    assert found.address is not None
    at = Address(found.address)
    password = at.parts["password"]
    assert password in (RAW, "p@ss")
    for text in (repr(found), str(found), repr(at), str(at), f"{at}", at.place):
        for secret in (password, urlsplit(found.address).password or ""):
            assert secret not in text
    assert at.place in repr(at)
    encoded = quote(password, safe="")
    assert at.hide_password(f"cannot open {found.address}: {password}, {encoded}") == "cannot open ***: ***, ***"
