"""Both readers on a server that speaks TLS: what each can verify, and that neither gives a row of one that it refuses.

What connectorx cannot do is pinned here: `usage_reader.choose_reader` is built on it.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import psycopg
import pytest
import tls_server
from authority import Authority, files
from commands import applied, usage_jobs
from conftest import SHAPES
from tls_server import TlsServer
from told import refused, under
from usage_reads import READERS, read_usage

from jobs.domain.errors import PreflightError, UsageJobsError

pytestmark = pytest.mark.skipif(tls_server.PROGRAM is None, reason=tls_server.MISSING)
JUNE = (date(2026, 6, 1), date(2026, 6, 30))
Servers = dict[str, TlsServer]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the certificates of two authorities: authority.crt and stranger.crt."""
    folder = tmp_path_factory.mktemp("certificates")
    Authority(folder, "stranger")
    return folder


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[Servers]:
    """One whose certificate is good for localhost, one whose has expired, one without TLS; each with one row."""
    authority = Authority(folder)
    good = files(authority.certificate("localhost"))
    old = files(authority.certificate("localhost", expired=True))
    with tls_server.running(good) as first, tls_server.running(old) as second, tls_server.running({}) as third:
        for server in (first, second, third):
            with psycopg.connect(server.url()) as connection:
                connection.execute(SHAPES["a"].read_bytes())
                connection.execute("INSERT INTO usage_daily (user_id, date, cpu_hours) VALUES ('ada', '2026-06-20', 1)")
        applied(first.url())
        yield {"good": first, "expired": second, "plain": third}


def read(url: str, reader: str) -> pl.DataFrame:
    """June, over a connection to ``url`` that psycopg has made before, as each run does."""
    return read_usage(url, reader, [JUNE])


def option(text: str, folder: Path) -> str:
    return text.replace("ROOT", f"sslrootcert={folder}/authority.crt").replace(
        "WRONG", f"sslrootcert={folder}/stranger.crt"
    )


@pytest.mark.thorough
@pytest.mark.parametrize("reader", READERS)
def test_both_read(servers: Servers, folder: Path, reader: str) -> None:
    for server, host, options in (
        ("good", "127.0.0.1", "sslmode=require&ROOT"),  # with the authority alone, no name is looked at
        ("good", "localhost", "sslmode=require"),
        ("good", "localhost", "sslmode=disable"),
        ("expired", "localhost", "sslmode=require"),
        ("plain", "localhost", "sslmode=prefer"),
        ("plain", "localhost", ""),
    ):
        frame = read(servers[server].url(host) + f"?{option(options, folder)}", reader)
        assert frame["cpu_hours"].to_list() == [10**10]


def test_only_copy_verifies_the_host(servers: Servers, folder: Path) -> None:
    good = servers["good"].url("localhost") + option("?sslmode=verify-full&ROOT", folder)
    assert read(good, "copy").height == 1
    with pytest.raises(UsageJobsError, match="invalid value for option `sslmode`"):
        read(good, "connectorx")


@pytest.mark.parametrize(
    ("server", "host", "options"),
    [
        ("good", "127.0.0.1", "sslmode=verify-full&ROOT"),
        ("good", "localhost", "sslmode=verify-ca&WRONG"),
        ("good", "localhost", "sslmode=require&WRONG"),
        ("expired", "localhost", "sslmode=require&ROOT"),
        ("plain", "localhost", "sslmode=verify-full&ROOT"),
        ("plain", "localhost", "sslmode=require"),
    ],
)
def test_psycopg_refuses_before_any_reader_reads(
    servers: Servers, folder: Path, server: str, host: str, options: str
) -> None:
    for reader in READERS:
        with pytest.raises(PreflightError):
            read(servers[server].url(host) + f"?{option(options, folder)}", reader)


@pytest.mark.parametrize("options", ["sslmode=verify-full&ROOT", "sslmode=allow"])
def test_connectorx_knows_no_such_mode(servers: Servers, folder: Path, options: str) -> None:
    """So `auto` must not take it there; and who demands it is told, before anything is read."""
    url = servers["good"].url("localhost") + f"?{option(options, folder)}"
    assert "invalid value for option `sslmode`" in complaint(url)
    assert reader_of(url) == "copy"
    refused(usage_jobs("run", url=url, USAGE_JOBS_READER="connectorx"), "sslmode", "copy", code=2)


def test_what_only_libpq_understands_is_left_to_it(servers: Servers) -> None:
    """Left out of connectorx's address, it would no longer hold for what is read."""
    url = f"{servers['good'].url('localhost')}?sslmode=require"
    assert usage_jobs("check", url=url, USAGE_JOBS_READER="connectorx").code == 0
    for option in (
        "hostaddr=127.0.0.1",  # connectorx would go where the name leads
        "options=-c%20search_path%3Delsewhere,public",
        "channel_binding=require",
        "require_auth=scram-sha-256",
        "target_session_attrs=read-write",
        "sslcert=/nowhere.crt",
    ):
        ran = usage_jobs("check", url=f"{url}&{option}", USAGE_JOBS_READER="connectorx")
        refused(ran, option.split("=", maxsplit=1)[0], "copy", code=2)
    assert reader_of(f"{url}&hostaddr=127.0.0.1") == "copy"


def test_a_name_that_is_given_beside_an_address_is_the_one_that_is_verified(servers: Servers, folder: Path) -> None:
    """As who reaches a server through a tunnel writes it: no resolver is asked, and the name still counts."""
    given = {"USAGE_JOBS_ROOT_CERTIFICATE": str(folder / "authority.crt")}
    for server, words in (("good", "elsewhere.example.test.*host name"), ("expired", "expired")):
        url = f"{servers[server].url('elsewhere.example.test')}?hostaddr=127.0.0.1"
        refused(under(given, "check", url=url), words)


def reader_of(url: str) -> str:
    """What `check` says will read."""
    ran = usage_jobs("check", "--json", url=url)
    [reader] = [found["found"] for found in ran.object["findings"] if found["subject"] == "reader"]
    return str(reader)


@pytest.mark.parametrize(
    ("server", "options", "words"),
    [
        ("good", "sslmode=require&WRONG", "unable to get local issuer certificate"),
        ("expired", "sslmode=require&ROOT", "certificate has expired"),
        ("plain", "sslmode=require", "server does not support TLS"),
    ],
)
def test_connectorx_by_itself_refuses_too(
    servers: Servers, folder: Path, server: str, options: str, words: str
) -> None:
    assert words in complaint(servers[server].url("localhost") + f"?{option(options, folder)}")


def complaint(url: str) -> str:
    """The first that connectorx says about an address; it would go on trying for half a minute. It reads nothing."""
    text = (
        "import connectorx, os; "
        "print(connectorx.read_sql(os.environ['URL'], 'SELECT 1', return_type='arrow'), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", text], env={**os.environ, "URL": url}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = (line.decode() for line in process.stderr)
        said = next((line for line in lines if "ERROR" in line or "Error:" in line), "")
        process.kill()
        assert process.stdout.read() == b""
    return said
