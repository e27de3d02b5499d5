"""TLS: a real server and an authority made here. Whoever it is not proved to be gets no password and gives no row."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import tls_server
from authority import Authority, files
from commands import EVERY_COMMAND, Ran, applied, ask, configured, usage_jobs
from conftest import SHAPES
from tls_server import TlsServer
from told import refused, under, warnings

NAME, _ = tls_server.other_name()
pytestmark = [
    pytest.mark.skipif(tls_server.PROGRAM is None, reason=tls_server.MISSING),
    pytest.mark.skipif(NAME == "localhost", reason="this machine has no other name than localhost"),
]
WAYS = ("root_certificate", "USAGE_JOBS_ROOT_CERTIFICATE", "the URL", "PGSSLROOTCERT", ".env.local")
"""In which a root certificate may be given."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Authority:
    """An authority that issued nothing here."""
    return Authority(folder, "stranger")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[TlsServer]:
    """With all that a run needs, a row to price, and a first run."""
    with tls_server.running(files(authority.certificate(NAME, "localhost"))) as server:
        with psycopg.connect(server.url()) as connection:
            connection.execute(SHAPES["a"].read_bytes())
            connection.execute("INSERT INTO usage_daily (user_id, date, cpu_hours) VALUES ('ada', '2026-06-20', 1)")
        assert usage_jobs("run", url=applied(server.url())).code == 0
        yield server


@pytest.fixture(scope="module")
def expired(authority: Authority) -> Iterator[TlsServer]:
    with tls_server.running(files(authority.certificate(NAME, expired=True))) as server:
        yield server


@pytest.fixture(scope="module")
def plain() -> Iterator[TlsServer]:
    """A server that speaks no TLS."""
    with tls_server.running({}) as server:
        yield server


def named(way: str, folder: Path, file: Path) -> tuple[dict[str, str], dict[str, str]]:
    """A root certificate, given in one of WAYS: options of the URL, and the environment."""
    if way == "root_certificate":  # relative to the settings file
        configured(folder, settings='root_certificate = "../root.crt"')
        if file.exists():
            (folder / "root.crt").write_bytes(file.read_bytes())
    if way == ".env.local":
        (folder / way).write_text(f"PGSSLROOTCERT={file}\n")
    return ({"sslrootcert": str(file)} if way == "the URL" else {}), ({way: str(file)} if way.isupper() else {})


@pytest.mark.parametrize("way", WAYS)
def test_the_right_authority_and_a_wrong_one(
    server: TlsServer, authority: Authority, stranger: Authority, tmp_path: Path, way: str
) -> None:
    options, environment = named(way, tmp_path, authority.file)
    ran = under(environment, "check", url=server.url(NAME, **options))
    assert (ran.code, warnings(ran)) == (0, []), ran.err
    options, environment = named(way, tmp_path, stranger.file)
    ran = under(environment, "check", url=server.url(NAME, **options))
    refused(ran, NAME, "certificate", "authority", "root[.]crt|stranger[.]crt")
    assert "expired" not in ran.err


@pytest.mark.thorough
def test_every_command_looks_at_who_answers(server: TlsServer, authority: Authority) -> None:
    """Both names are told: whom we asked for, and who answered. Without a root certificate there is one warning."""
    url = server.url("127.0.0.1", sslmode="verify-full", sslrootcert=authority.file)
    for number, command in enumerate(EVERY_COMMAND):
        options = ("--json",) if number % 2 else ()
        refused(usage_jobs(*command, *options, url=url), "127.0.0.1", f'"{NAME}"', "host name")
        assert_warned(usage_jobs(*command, *options, url=server.url(NAME)))


def assert_warned(ran: Ran) -> None:
    assert ran.code == 0, ran.err
    [warning] = warnings(ran)
    assert NAME in warning
    assert "root_certificate" in warning


def test_an_expired_certificate(expired: TlsServer, authority: Authority, stranger: Authority) -> None:
    for root, word in ((authority, "expired"), (stranger, "expired|authority")):
        ran = usage_jobs("run", url=expired.url(NAME, sslrootcert=root.file))
        refused(ran, word, NAME, "certificate")


@pytest.mark.thorough
@pytest.mark.parametrize("demanded", ["sslmode", "sslrootcert", "PGSSLMODE", "by default"])
def test_a_server_without_tls(plain: TlsServer, authority: Authority, demanded: str) -> None:
    given = {"sslmode": "require", "sslrootcert": str(authority.file)}
    options = {demanded: given[demanded]} if demanded in given else {}
    environment = {"PGSSLMODE": "require"} if demanded == "PGSSLMODE" else {}
    ran = under(environment, "check", url=plain.url(NAME, **options))
    refused(ran, NAME, "(TLS|SSL).* not|not.* (TLS|SSL)", "sslmode")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_needs_no_tls_unless_it_is_asked_for(plain: TlsServer, authority: Authority, host: str) -> None:
    root = {"USAGE_JOBS_ROOT_CERTIFICATE": str(authority.file)}
    for environment in ({}, root):
        ran = under(environment, "schema", "--apply", url=plain.url(host))
        assert (ran.code, warnings(ran)) == (0, []), ran.err
    for asked in (plain.url(host, sslmode="verify-full"), plain.url(host, sslmode="require")):
        refused(under(root, "check", url=asked), "TLS|SSL")
    refused(under(root | {"PGSSLMODE": "verify-full"}, "check", url=plain.url(host)), "TLS|SSL")


MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


@pytest.mark.thorough
@pytest.mark.parametrize("where", ["the URL", "PGSSLMODE", ".env.local"])
def test_a_mode_that_is_given_holds_and_less_than_all_is_warned_of(
    server: TlsServer, authority: Authority, tmp_path: Path, where: str
) -> None:
    for mode in MODES if where == "the URL" else ("require", "verify-full"):
        if where == ".env.local":
            (tmp_path / where).write_text(f"PGSSLMODE={mode}\n")
        given = {"sslmode": mode} if where == "the URL" else {}
        environment = {"PGSSLMODE": mode} if where == "PGSSLMODE" else {}
        ran = under(environment, "check", "--json", url=server.url(NAME, sslrootcert=authority.file, **given))
        [tls] = [finding for finding in ran.object["findings"] if finding["subject"] == "TLS"]
        assert (tls["level"], mode in tls["found"]) == ("ok" if mode == "verify-full" else "note", True)
        if mode == "verify-full":
            assert (ran.code, warnings(ran)) == (0, []), ran.err
        else:
            assert_warned(ran)
    assert ask(server.url(), "SHOW ssl") == [{"ssl": "on"}]


def test_a_root_certificate_that_is_not_there_or_none(server: TlsServer, tmp_path: Path) -> None:
    for way in WAYS:
        options, environment = named(way, tmp_path, tmp_path / "root.crt")
        refused(under(environment, "check", url=server.url(NAME, **options)), "root[.]crt", "root.?cert", code=2)
    (tmp_path / ".env.local").unlink()
    configured(tmp_path)
    (tmp_path / "root.crt").write_text("<html>Sign in to download</html>")
    ran = usage_jobs("check", url=server.url(NAME, sslrootcert=tmp_path / "root.crt"))
    refused(ran, "root[.]crt", "certificate", code=5 if ran.code == 5 else 2)


@pytest.mark.skipif(psycopg.pq.version() < 160000, reason="libpq knows sslrootcert=system from 16 on")
def test_the_authorities_of_the_system_are_no_file(server: TlsServer) -> None:
    refused(usage_jobs("check", url=server.url(NAME, sslrootcert="system")), "certificate", "authority")
