"""The password shows nowhere: not in the output of a command that fails, no table, no list of processes."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import strangers
from commands import DAY, Ran, add_usage, ask, configured, pausing
from leaks import SECRET, another_process, in_process_list, in_tables, leaked, leaks
from passwords import SUPABASE, role, with_password
from psycopg.conninfo import make_conninfo
from strangers import Stranger, door
from told import under
from usage_reads import READERS, read_usage

from jobs.domain.errors import UsageJobsError
from jobs.postgres.connections import open_link
from jobs.postgres.conninfo import Address

ENCODED = quote(SECRET, safe="")
THIS, ANOTHER = "this process", "another process"


def fails(code: int, words: tuple[str, ...], environment: Mapping[str, str], place: str = THIS) -> None:
    """The command fails as expected, with and without --json, and says nothing of SECRET."""
    if place == ANOTHER:
        unsaid(another_process((*words, "--json"), environment), code)
        return
    ran = under(environment, *words)
    assert ran.out == ""
    unsaid(ran, code)
    unsaid(under(environment, *words, "--json"), code)


def unsaid(ran: Ran, code: int) -> None:
    assert ran.code == code, ran.err
    assert leaked(ran) == set()
    assert ran.err, "nothing was said at all"
    assert not ran.out or ran.object["exit_code"] == code


@pytest.fixture
def ready(ready: str) -> Iterator[str]:
    """The address of a database where a run has something to write, with SECRET as it is encoded."""
    for day in (datetime.now(UTC).date() - timedelta(days=1), None):
        add_usage(ready, **({"date": day} if day else {}))
    with role(ready, SECRET) as url:
        yield with_password(url, ENCODED)


# Who cannot connect


def unreachable() -> dict[str, str]:
    """Addresses where nobody is, or that are none, by what is wrong with them."""
    login, host = f"job:{ENCODED}", "no-such-host.invalid"
    return {
        "unknown host": f"postgresql://{login}@{host}/app",
        "unknown host, raw": f"postgresql://job:{SECRET}@{host}/app",
        "refused port": f"postgresql://{login}@127.0.0.1:1/app",
        "refused port, IPv6": f"postgresql://{login}@[::1]:1/app",
        "in the query": f"postgresql://127.0.0.1:1/app?user=job&password={ENCODED}",
        "no socket": f"postgresql://job:{ENCODED}@/app?host=/nowhere",
        "unknown option": f"postgresql://{login}@{host}/app?nonsense=1",
        "unknown option in the query": f"postgresql://{host}/app?password={ENCODED}&nonsense=1",
        "no number": f"postgresql://{login}@{host}:port/app",
        "no number, raw": f"postgresql://job:{SECRET}@{host}:port/app",
        "half encoded": f"postgresql://job:{SECRET}%41@{host}/app",
        "no user": f"postgresql://{SECRET}@{host}/app",
        "no scheme": f"job:{SECRET}@{host}/app",
        "another scheme": f"mysql://job:{SECRET}@{host}/app",
        "key and value": make_conninfo(host=host, password=SECRET),
        "no host": f"postgresql://job:{SECRET}",
        "TLS without its file": f"postgresql://{login}@{host}/app?sslmode=verify-full&sslrootcert=/nowhere.crt",
    }


@pytest.mark.parametrize("wrong", unreachable())
def test_an_address_that_leads_nowhere(wrong: str) -> None:
    environment = {"DATABASE_URL": unreachable()[wrong]}
    code = under(environment, "check").code
    assert code in (2, 5)
    fails(code, ("run",), environment)


def test_from_env_local_and_in_another_process(tmp_path: Path) -> None:
    fails(5, ("check",), {"DATABASE_URL": unreachable()["in the query"]}, ANOTHER)
    (tmp_path / ".env.local").write_text(f"DATABASE_URL=postgresql://job:{ENCODED}@127.0.0.1:1/app\n")
    fails(5, ("check",), {})


def test_supabases_variables() -> None:
    given = SUPABASE | {"SUPABASE_DB_PASSWORD": SECRET}
    fails(5, ("check",), given)
    fails(2, ("check",), given | {"SUPABASE_REGION": ""})
    fails(2, ("check",), given | {"SUPABASE_CONNECTION": "pooled"})
    for name in ("SUPABASE_PROJECT_REF", "SUPABASE_REGION", "SUPABASE_CONNECTION"):  # an address pasted too early
        fails(2, ("check",), given | {name: f"postgresql://postgres:{SECRET}@db.abcd.supabase.co/postgres"})


def test_who_is_not_let_in(ready: str) -> None:
    wrong = urlsplit(ready)._replace(netloc=f"nobody:{ENCODED}@{urlsplit(ready).netloc.rpartition('@')[2]}").geturl()
    fails(5, ("run",), {"DATABASE_URL": wrong})
    fails(5, ("run",), {"DATABASE_URL": f"{ready}_of_no_such_name"})
    if ask(ready, "SHOW ssl") == [{"ssl": "off"}]:
        fails(5, ("run",), {"DATABASE_URL": f"{ready}?sslmode=require"})


# Who connects, and fails later


def test_another_shape_and_settings_that_are_wrong(ready: str, tmp_path: Path) -> None:
    given = {"DATABASE_URL": ready}
    fails(2, ("run", "--date", "someday"), given)
    fails(2, ("run",), given | {"USAGE_JOBS_READER": "fast"})
    fails(2, ("run",), given | {"USAGE_JOBS_ADDRESS": ready})
    fails(2, ("run",), given | {"USAGE_JOBS_DATABASE_URL": ready})
    for line in (f'address = "{ready}"', f'database_url = "{ready}"', f"password = '''{SECRET}'''", f"{ready}"):
        configured(tmp_path, settings=line)
        fails(2, ("run",), given)
    configured(tmp_path)
    ask(ready, "DROP TABLE usage_daily CASCADE")
    fails(5, ("run",), given)


def troubled(url: str, table: str, body: str) -> None:
    """From now on, what is written to a table meets with this."""
    ask(
        url,
        f"CREATE FUNCTION public.trouble() RETURNS trigger LANGUAGE plpgsql AS $_$ BEGIN {body}; RETURN new; END $_$;"
        f"CREATE TRIGGER trouble BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION public.trouble()",
    )


@pytest.mark.parametrize(("table", "place"), [("rollup.user_monthly", ANOTHER), ("rollup.cluster_daily", THIS)])
def test_a_run_that_fails_in_the_middle(ready: str, place: str, table: str) -> None:
    """What the server says comes back in errors, whoever told it the address."""
    said = ready.replace("'", "''")
    troubled(ready, table, f"RAISE EXCEPTION 'cannot reach %, %', '{said}', '{SECRET.replace(chr(39), chr(39) * 2)}'")
    fails(5, ("run",), {"DATABASE_URL": ready}, place)
    assert {row["status"] for row in ask(ready, "SELECT status FROM rollup.runs WHERE error LIKE '%reach%'")} == {
        "failed"
    }
    assert in_tables(ready) == set()


def test_a_run_whose_server_is_taken_away(ready: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pausing(monkeypatch, lambda _: None)
    troubled(ready, "rollup.user_monthly", "PERFORM pg_terminate_backend(pg_backend_pid())")
    unsaid(under({"DATABASE_URL": ready}, "run"), 5)
    assert in_tables(ready) == set()


@pytest.mark.parametrize("reader", READERS)
def test_a_read_that_fails(ready: str, reader: str) -> None:
    words = ready.replace("'", "''")
    ask(
        ready,
        "ALTER TABLE usage_daily RENAME TO usage_rows;"
        "CREATE FUNCTION trouble() RETURNS boolean LANGUAGE plpgsql AS $_$ BEGIN RAISE EXCEPTION 'cannot reach %', "
        f"'{words}'; END $_$; CREATE VIEW usage_daily AS SELECT * FROM usage_rows WHERE trouble()",
    )
    with pytest.raises(UsageJobsError, match="cannot reach") as failed, open_link(Address(ready)):
        read_usage(ready, reader, [(DAY, DAY)])
    assert leaks(str(failed.value)) == set()


def test_an_unexpected_failure(ready: str) -> None:
    """A traceback, also of what caused it: with the address, its raw password, libpq's words, and its parts."""
    prelude = (
        "import os, jobs.postgres.connections\n"
        "from psycopg.conninfo import conninfo_to_dict, make_conninfo\n"
        "def fail(*_):\n"
        "    url = os.environ['DATABASE_URL']\n"
        "    parts = conninfo_to_dict(url)\n"
        "    try: raise KeyError(parts['password'], parts)\n"
        "    except KeyError as error: raise RuntimeError('cannot parse', url, make_conninfo(url)) from error\n"
        "jobs.postgres.connections.query_database = fail"
    )
    ran = another_process(("runs", "--json"), {"DATABASE_URL": ready}, prelude)
    unsaid(ran, 1)
    assert "KeyError" in ran.err
    assert "cannot parse" in ran.err


@pytest.mark.thorough
@pytest.mark.skipif(not strangers.addressable() or not Path("/proc/self/cmdline").exists(), reason="Linux only")
@pytest.mark.parametrize("reader", READERS)
def test_the_list_of_processes(ready: str, reader: str) -> None:
    """Looked at whenever the job connects, and while it runs."""
    found, enter = [], door(ready)

    def looking(client: strangers.Client, said: Mapping[str, str]) -> None:
        found.append(in_process_list() | in_tables(ready))
        enter(client, said)

    with Stranger(looking) as met:
        url = f"postgresql://job:{ENCODED}@{strangers.address()}:{met.port}/app"
        ran = another_process(("run",), {"DATABASE_URL": url, "USAGE_JOBS_READER": reader})
    assert ran.code == 0, ran.err
    assert len(found) > 1
    assert set.union(*found) == set()
