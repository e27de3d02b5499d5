"""Our own tables half made, half there, or damaged: `schema --apply` makes them whole or says what stands in its way.

All or nothing, also when two operators apply at once, when one is interrupted, or when the role may not.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from catalogs import OWN, catalog, lost, rows, unlike
from commands import applied, ask, configured, usage_jobs
from conftest import SHAPES
from drift_figures import digest
from drift_verdicts import ended
from drift_world import Copies, copies, do
from test_migrations import FIRST

pytestmark = pytest.mark.direct("compares catalogs, to which what a role is granted belongs")
START = "import sys; from jobs.cli.main import main; sys.exit(main(['schema', '--apply']))"


def nothing(url: str) -> None:
    """The application's tables and their rows, and none of ours."""
    text = SHAPES["a"].read_text(encoding="utf-8") + "\n;" + FIRST.read_text(encoding="utf-8")
    do(url, text + "DROP SCHEMA rollup CASCADE;")


def whole(url: str) -> None:
    """Our tables, after a run."""
    nothing(url)
    applied(url)
    ran = usage_jobs("run", url=url)
    assert ran.code == 3, ran.err


@pytest.fixture(scope="module")
def made(server_url: str) -> Iterator[Copies]:
    with copies(server_url) as some:
        yield some


@pytest.fixture
def empty(made: Copies, tmp_path: Path) -> Iterator[str]:
    configured(tmp_path)
    url = made.of("nothing", nothing)
    yield url
    made.drop(url)


@pytest.fixture
def url(made: Copies, tmp_path: Path) -> Iterator[str]:
    configured(tmp_path)
    url = made.of("whole", whole)
    yield url
    made.drop(url)


# Twice, at once, in part


def test_twice_is_once(url: str) -> None:
    before, made = digest(url), catalog(url)
    applied(url)
    assert unlike(catalog(url), made) == {}
    assert digest(url) == before


@pytest.mark.thorough
def test_operators_at_once_make_it_once(empty: str, url: str) -> None:
    several = [apply_apart(empty) for _ in range(3)]
    ended_with = [process.communicate(timeout=120) for process in several]
    assert [process.returncode for process in several] == [0] * 3, ended_with
    assert unlike(catalog(empty), catalog(url)) == {}


def apply_apart(url: str) -> "subprocess.Popen[str]":
    """`schema --apply` in a process of its own."""
    root = str(Path(__file__).parents[2])
    environment = {"PATH": "/usr/bin:/bin", "DATABASE_URL": url, "PYTHONPATH": root}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", START], stdout=pipe, stderr=pipe, text=True, env=environment)


@pytest.mark.parametrize("gone", [OWN[:1], OWN[2:6], OWN[5:]], ids=lambda gone: f"{gone[0]} and {len(gone) - 1}")
def test_the_tables_that_lack_are_made_and_the_others_kept(url: str, gone: tuple[str, ...]) -> None:
    before, made = rows(url), catalog(url)
    do(url, "".join(f"DROP TABLE rollup.{table};" for table in gone))
    applied(url)
    # Where a roll-up was lost, open months have no fingerprint any more: the next run computes them again.
    kept = {table: some for table, some in before.items() if table not in gone}
    assert lost(kept, rows(url), but=("fingerprint",)) == []
    assert unlike(catalog(url), made) == {}


# Something stands in the way

OBSTACLES = (
    "CREATE VIEW rollup.months AS SELECT 1 AS month",
    "CREATE SEQUENCE rollup.rejects",
    "CREATE TYPE rollup.corrections AS (month date)",
    "CREATE FUNCTION rollup.refuse_change() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE TABLE rollup.runs (id integer)",
)


def test_what_is_in_the_way_is_named_and_nothing_is_half_made(empty: str) -> None:
    for obstacle in OBSTACLES:
        do(empty, f"CREATE SCHEMA rollup; {obstacle}")
        before = catalog(empty)
        done = usage_jobs("schema", "--apply", url=empty)
        assert done.code == 5, ended(done)
        assert obstacle.partition("rollup.")[2].partition(" ")[0].strip("()") in done.err
        assert unlike(catalog(empty), before) == {}
        do(empty, "DROP SCHEMA rollup CASCADE")


def test_a_statement_that_fails_half_way_undoes_the_others(empty: str) -> None:
    """As when a trigger of the platform forbids indexes."""
    do(
        empty,
        """CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE insufficient_privilege USING MESSAGE = 'no index here'; END $$;
        CREATE EVENT TRIGGER forbid ON ddl_command_start WHEN tag IN ('CREATE INDEX') EXECUTE FUNCTION forbid();""",
    )
    done = usage_jobs("schema", "--apply", url=empty)
    assert (done.code, "no index here" in done.err) == (5, True), ended(done)
    assert ask(empty, "SELECT nspname FROM pg_namespace WHERE nspname = 'rollup'") == []
    do(empty, "DROP EVENT TRIGGER forbid")
    applied(empty)


def test_a_role_without_the_rights_is_told_so(server_url: str, empty: str) -> None:
    name = f"usage_jobs_nobody_{urlsplit(empty).path[1:]}"
    do(server_url, f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    try:
        as_role = urlsplit(empty)._replace(netloc=f"{name}:x@{urlsplit(empty).netloc.rpartition('@')[2]}").geturl()
        done = usage_jobs("schema", "--apply", url=as_role)
        assert done.code == 5, ended(done)
        assert "permission denied for database" in done.err
        applied(empty)
        do(empty, f"GRANT USAGE, CREATE ON SCHEMA rollup TO {name}; GRANT ALL ON ALL TABLES IN SCHEMA rollup TO {name}")
        before = catalog(empty)
        done = usage_jobs("schema", "--apply", url=as_role)
        assert done.code == 5, ended(done)
        assert any(word in done.err for word in ("must be owner of", "permission denied"))
        assert unlike(catalog(empty), before) == {}
    finally:
        do(empty, f"DROP OWNED BY {name}")
        do(server_url, f"DROP ROLE {name}")


@pytest.mark.thorough
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_one_leaves_nothing_half_made(url: str, number: signal.Signals, code: int) -> None:
    """It waits for a table that somebody else uses, with half of its work done."""
    made, before = catalog(url), rows(url)
    do(url, "DROP TABLE rollup.user_monthly, rollup.months; DROP INDEX rollup.credit_draws_usage_date;")
    damaged = catalog(url)
    with psycopg.connect(url) as busy:
        busy.execute("LOCK TABLE rollup.runs IN ACCESS SHARE MODE")
        process = apply_apart(url)
        wait_until(url, "SELECT FROM pg_locks WHERE NOT granted AND relation = 'rollup.runs'::regclass")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert "Traceback" not in out + err
        assert ("usage-jobs: stopped by Ctrl-C; nothing" in err) == (number == signal.SIGINT)
    wait_until(url, "SELECT WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name ~ '^usage-jobs'"
                    " AND datname = current_database())")  # fmt: skip
    assert unlike(catalog(url), damaged) == {}
    applied(url)
    assert unlike(catalog(url), made) == {}
    kept = {table: some for table, some in before.items() if table not in ("user_monthly", "months")}
    assert lost(kept, rows(url)) == []


def test_it_waits_for_a_run_at_work_and_then_is_done(url: str) -> None:
    made = catalog(url)
    do(url, "DROP TABLE rollup.corrections")
    with psycopg.connect(url) as busy:
        busy.execute("SELECT FROM rollup.runs FOR SHARE")
        process = apply_apart(url)
        wait_until(url, "SELECT FROM pg_locks WHERE NOT granted AND relation = 'rollup.runs'::regclass")
        busy.rollback()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert unlike(catalog(url), made) == {}


def wait_until(url: str, query: str) -> None:
    """Until the query has a row; a test that never ends is ended by whoever runs it."""
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(query.encode()).fetchone() is None:
            pass


# Keys, indexes, triggers, defaults

DAMAGE = {
    **{
        f"no key of {name}": f"ALTER TABLE rollup.{name} DROP CONSTRAINT {name}_pkey"
        for name in OWN
        if "cluster" not in name
    },
    **{
        f"no key of {name}": f"ALTER TABLE rollup.{name} DROP CONSTRAINT {name}_{day}_cluster_id_key"
        for name, day in {"cluster_daily": "date", "cluster_monthly": "month"}.items()
    },
    "a key where nulls differ": "ALTER TABLE rollup.cluster_daily DROP CONSTRAINT cluster_daily_date_cluster_id_key, "
    "ADD CONSTRAINT cluster_daily_date_cluster_id_key UNIQUE (date, cluster_id)",
    "no index by user": "DROP INDEX rollup.credit_draws_user_id_usage_date",
    "no index by day": "DROP INDEX rollup.credit_draws_usage_date",
    **{
        f"{word} trigger on {name}": statement.format(name)
        for name in ("credit_draws", "billing_modes", "corrections")
        for word, statement in {
            "no": "DROP TRIGGER append_only ON rollup.{}",
            "a disabled": "ALTER TABLE rollup.{} DISABLE TRIGGER append_only",
        }.items()
    },
    "a trigger that does nothing": "CREATE OR REPLACE FUNCTION rollup.refuse_change() RETURNS trigger LANGUAGE plpgsql "
    "AS $$ BEGIN RETURN NULL; END $$",
    "no function": "DROP FUNCTION rollup.refuse_change() CASCADE",
    "no identity": "ALTER TABLE rollup.runs ALTER run_id DROP IDENTITY",
    "no default of started_at": "ALTER TABLE rollup.runs ALTER started_at DROP DEFAULT",
    "no default of posted_at": "ALTER TABLE rollup.credit_draws ALTER posted_at DROP DEFAULT",
    "no default of updated_at": "ALTER TABLE rollup.user_monthly ALTER updated_at DROP DEFAULT",
    "nulls where none were": "ALTER TABLE rollup.user_monthly ALTER total_cost DROP NOT NULL",
    "no check of a mode": "ALTER TABLE rollup.months DROP CONSTRAINT months_cost_mode_check",
    "no row level security of user_monthly": "ALTER TABLE rollup.user_monthly DISABLE ROW LEVEL SECURITY",
    "a column of somebody's": "ALTER TABLE rollup.runs ADD COLUMN host text NOT NULL DEFAULT 'x'; "
    "ALTER TABLE rollup.runs ALTER host DROP DEFAULT",
}
TOLD = {name for name in DAMAGE if " key " in name or "trigger" in name or "function" in name or "level" in name}
"""What takes away the walls around money, of which `check` has to speak; other damage must at least do no harm."""
WHOLE = TOLD | {"no index by user", "no index by day"}
"""What `schema --apply` puts right without a word."""


def alike(name: str) -> str:
    """Those of one kind are done together, each to tables of their own."""
    if name in ("a trigger that does nothing", "no function", "a column of somebody's", "a key where nulls differ"):
        return name
    return next(word for word in ("no key", "no index", "no trigger", "a disabled trigger", "") if word in name)


KINDS = {kind: [name for name in DAMAGE if alike(name) == kind] for kind in dict.fromkeys(map(alike, DAMAGE))}


@pytest.mark.parametrize("names", KINDS.values(), ids=lambda names: f"{names[0]} and {len(names) - 1}")
def test_damage_is_named_or_harmless_and_schema_apply_repairs_it(url: str, names: list[str]) -> None:
    whole, before, told = catalog(url), rows(url), levels(url)
    do(url, "; ".join(DAMAGE[name] for name in names))
    new = {subject: level for subject, level in levels(url).items() if level != told.get(subject)}
    ran = usage_jobs("run", url=url)
    assert ran.code in (3, 5), ended(ran)
    assert ran.code == 3 or new, f"a run refuses, and check says nothing: {ended(ran)}"
    done = usage_jobs("schema", "--apply", url=url)
    is_whole = WHOLE.issuperset(names)
    assert done.code == (0 if is_whole else done.code and 5), ended(done)
    assert lost({table: some for table, some in before.items() if table != "runs"}, rows(url)) == []
    if is_whole:
        assert unlike(catalog(url), whole) == {}
        assert usage_jobs("run", url=url).code == 3
    for name in TOLD.intersection(names):
        place = name.rpartition(" ")[2]
        assert any(place in subject for subject in new) if place in OWN else new, f"check says nothing of: {name}"


def levels(url: str) -> dict[str, str]:
    found = usage_jobs("check", "--json", url=url).object["findings"]
    return {finding["subject"]: finding["level"] for finding in found if finding["level"] != "ok"}


@pytest.mark.parametrize("table", ["credit_draws", "cluster_daily"])
def test_a_key_that_doubles_prevent_is_named(url: str, table: str) -> None:
    text = "SELECT conname AS name FROM pg_constraint WHERE conrelid = %s::regclass AND contype IN ('p', 'u')"
    [key] = ask(url, text, f"rollup.{table}")
    do(url, f"ALTER TABLE rollup.{table} DROP CONSTRAINT {key['name']}")
    do(url, f"INSERT INTO rollup.{table} SELECT * FROM rollup.{table}")
    before = digest(url)
    done = usage_jobs("schema", "--apply", url=url)
    assert (done.code, table in done.err) == (5, True), ended(done)
    assert usage_jobs("run", url=url).code == 5
    assert digest(url) == before
