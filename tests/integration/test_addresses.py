"""From what a person pastes to a connection: raw passwords, .env.local, Supabase's ways, IPv6; on a real server."""

from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import strangers
from authority import Authority
from commands import Ran, add_usage, usage_jobs, usage_jobs_process
from passwords import AWKWARD, PASSWORDS, SUPABASE, WAYS, role, with_password
from strangers import Stranger, door
from told import refused, under, warnings

from jobs.settings.database_url import address


@pytest.fixture
def ready(ready: str) -> str:
    """With a row of usage that costs 0.10."""
    add_usage(ready)
    return ready


def worked(ran: Ran) -> None:
    """A run that found the row of usage."""
    assert ran.code == 0, ran.err
    assert "0.10" in ran.out


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_in_the_address_raw_or_encoded(ready: str, password: str) -> None:
    with role(ready, password) as url:
        for written in (password, quote(password, safe="")):
            worked(usage_jobs("run", url=with_password(url, written)))


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_in_env_local(ready: str, tmp_path: Path, password: str) -> None:
    """As pasted; in quotation marks only where a line would otherwise not be one value."""
    with role(ready, password) as bare:
        url = with_password(bare, password)
        quoted = "'" + url.replace("\\", "\\\\").replace("'", "\\'") + "'" if set(" '\"\\") & set(password) else url
        (tmp_path / ".env.local").write_text(f"# from the dashboard\nDATABASE_URL={quoted}\n", encoding="utf-8")
        worked(usage_jobs("run"))


@pytest.mark.skipif(not strangers.addressable(), reason="this system has one loopback address")
@pytest.mark.parametrize("way", WAYS)
def test_supabases_ways_with_a_raw_password(ready: str, tmp_path: Path, way: str) -> None:
    """The real names and ports, by TLS; all but the resolver's answer, which leads to this machine."""
    user, host, port = WAYS[way]
    environment = SUPABASE | {
        "SUPABASE_DB_PASSWORD": AWKWARD,
        "SUPABASE_CONNECTION": way,
        "PGHOSTADDR": strangers.address(),
        "USAGE_JOBS_READER": "copy",  # connectorx would ask a resolver
    }
    with role(ready, AWKWARD) as url, Stranger(door(url), port, Authority(tmp_path).context(host)) as met:
        ran = under(environment, "run")
    worked(ran)
    [warning] = warnings(ran)
    assert f"{host}:{port}" in warning
    assert {(said["user"], said["database"]) for said in met.met} == {(user, "postgres")}


@pytest.mark.thorough
@pytest.mark.parametrize("reader", ["connectorx", "copy"])
def test_an_ipv6_host(ready: str, reader: str) -> None:
    """In a process of its own: connectorx lets no other thread work while it waits, not even the one that answers."""
    with role(ready, AWKWARD) as url:
        try:
            met = Stranger(door(url), host="::1")
        except OSError:
            pytest.skip("this machine has no IPv6")
        with met:
            pasted = f"postgresql://job:{AWKWARD}@[::1]:{met.port}{urlsplit(url).path}"
            ran = usage_jobs_process("run", DATABASE_URL=pasted, USAGE_JOBS_READER=reader)
    assert (ran.code, warnings(ran)) == (0, []), ran.err


@pytest.mark.parametrize("placeholder", ["[YOUR-PASSWORD]", "[your-password]", "[YOUR_PASSWORD]"])
def test_a_placeholder_that_was_left(placeholder: str) -> None:
    variables = SUPABASE | {"SUPABASE_DB_PASSWORD": placeholder}
    refused(under(variables, "check"), "SUPABASE_DB_PASSWORD", "YOUR.PASSWORD", "placeholder", code=2)
    for written in (placeholder, quote(placeholder)):
        ran = usage_jobs("check", url=f"postgresql://postgres:{written}@db.abcd.supabase.co:5432/postgres")
        refused(ran, "DATABASE_URL", "YOUR.PASSWORD", "placeholder", code=2)


def test_what_can_be_read_in_two_ways_is_refused() -> None:
    ran = usage_jobs("check", url="postgresql://job:p@ss%41@db.example.test:5432/app")
    refused(ran, "DATABASE_URL", "encode", "SUPABASE_DB_PASSWORD", code=2)
    assert "ss%41" not in ran.err


@pytest.mark.parametrize(
    ("region", "host"), [("eu-central-1", "aws-0-eu-central-1"), ("aws-1-eu-central-1", "aws-1-eu-central-1")]
)
def test_a_region_with_or_without_the_number_of_its_pooler(region: str, host: str) -> None:
    found = address(SUPABASE | {"SUPABASE_REGION": region, "SUPABASE_DB_PASSWORD": "x"})
    assert urlsplit(found or "").hostname == f"{host}.pooler.supabase.com"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUPABASE_PROJECT_REF", "https://abcd.supabase.co"),
        ("SUPABASE_PROJECT_REF", "db.abcd.supabase.co"),
        ("SUPABASE_REGION", "aws-0-eu-central-1.pooler.supabase.com"),
        ("SUPABASE_REGION", "Central EU (Frankfurt)"),
    ],
)
def test_more_than_a_name_where_a_name_belongs(name: str, value: str) -> None:
    """Nobody's password is sent to a host of that making."""
    refused(under(SUPABASE | {"SUPABASE_DB_PASSWORD": "s3cret", name: value}, "check"), name, "expected", code=2)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("pgbouncer=true", ("found pgbouncer", "pooler is recognised by itself")),
        ("schema=public&sslmode=disable", ("found schema", "source_schema")),
        ("connection_limit=1&pool_timeout=0", ("found connection_limit, pool_timeout", "remove")),
        ("sslmode=no-verify", ("sslmode", "'no-verify'", "require")),
        ("target_session_attrs=rw", ("target_session_attrs", "correct")),
        ("ssl_min_protocol_version=2", ("ssl_min_protocol_version", "correct")),
        ("keepalives=on", ("keepalives", "integer", "correct")),
        ("port=99999", ("port number", "correct")),
    ],
)
def test_a_parameter_that_libpq_does_not_take(query: str, words: tuple[str, ...]) -> None:
    ran = usage_jobs("check", url=f"postgresql://job:s3cret@127.0.0.1:1/app?{query}")
    refused(ran, "DATABASE_URL", *words, code=2)
    assert "s3cret" not in ran.err


def test_what_may_be_a_part_of_a_password_is_not_named() -> None:
    ran = usage_jobs("check", url="postgresql://127.0.0.1:1/app?user=job&password=half&other=half")
    refused(ran, "DATABASE_URL", "URL-encoded", code=2)
    assert "other" not in ran.err


@pytest.mark.direct("a pooler would say so itself")
def test_a_setting_that_the_server_does_not_take(ready: str) -> None:
    refused(usage_jobs("check", url=f"{ready}?options=-c%20nonsense%3D1"), "options=", "take it out")
