"""Any password at all, pasted or raw: libpq reads the one that was meant, or nothing is sent anywhere."""

from contextlib import suppress
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passwords import PASSWORDS, SUPABASE, WAYS
from psycopg.conninfo import conninfo_to_dict

from jobs.domain.errors import ConfigError
from jobs.settings.database_url import address

environmental = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1)
PIECES = (*"@#%/?:&=[]+;, ", "%41", "%zz", "ü", "a", "x1", "@h", "/d", "?user=", "?password=", "host=", "://", "5432")
pasted = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)


@given(environmental.filter(lambda password: password.rstrip("\r\n")), st.sampled_from(["", "\n", "\r\n"]))
def test_a_raw_password_always_reaches_libpq(written: str, end: str) -> None:
    """But for the line ends after it, which a file or echo has left there."""
    password = written.rstrip("\r\n")
    for way, (user, host, port) in WAYS.items():
        found = address(SUPABASE | {"SUPABASE_DB_PASSWORD": written + end, "SUPABASE_CONNECTION": way + end})
        parts = conninfo_to_dict(found or "")
        assert (parts["password"], parts["user"], parts["host"], parts["port"]) == (password, user, host, str(port))


@given(environmental | pasted)
def test_an_encoded_password_always_reaches_libpq(password: str) -> None:
    url = f"postgresql://job:{quote(password, safe='')}@db.example.test:5432/app?application_name=x"
    parts = conninfo_to_dict(address({"DATABASE_URL": url}) or "")
    assert (parts["password"], parts["host"], parts["application_name"]) == (password, "db.example.test", "x")


@given(pasted)
def test_a_password_as_pasted_is_understood_or_refused_but_never_misread(password: str) -> None:
    """Half of a password must not become a host, to which the other half would be sent."""
    with suppress(ConfigError):
        found = address({"DATABASE_URL": f"postgresql://job:{password}@db.example.test:5432/app"})
        assert read(found or "")[1:] == ("job", "db.example.test", "5432", "app")
        assert read(found or "")[0] in (password, unquote(password))


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_as_pasted_that_can_be_read_in_one_way_is_understood(password: str) -> None:
    found = address({"DATABASE_URL": f"postgresql://job:{password}@db.example.test:5432/app"})
    assert read(found or "") == (password, "job", "db.example.test", "5432", "app")


@pytest.mark.parametrize(
    "piece", ["a", "@", ":", "/", "?", "%", "%41", ",", "[", "]", ".", "-", "a@", "a:", "1:1,", "=&"]
)
def test_a_password_of_any_length_is_read_at_once(piece: str) -> None:
    """An expression that tries every way to split it would never end."""
    for url in (
        f"postgresql://job:{piece * 5_000}@db.example.test/app",
        f"postgresql://{piece * 5_000}",
        piece * 5_000,
    ):
        with suppress(ConfigError):
            address({"DATABASE_URL": url})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql:///app?host=/tmp",
        "postgresql://job:s3cret@%2Ftmp/app",
        "postgresql://%2Fvar%2Frun%2Fpostgresql/app",
        "postgresql://127.0.0.1:5432,localhost:5433/app",
        "postgresql://us%40er:s%2F3@[::1]:5432/app?connect_timeout=5",
        "postgres://localhost/?user=a@b.c&password=d@e",
    ],
)
def test_every_kind_of_address_that_libpq_documents_is_taken_as_it_is(url: str) -> None:
    assert address({"DATABASE_URL": url}) == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres.[PROJECT-REF]:s3cret@aws-0-eu-central-1.pooler.supabase.com:6543/postgres",
        "postgresql://postgres.abcd:s3cret@aws-0-[REGION].pooler.supabase.com:6543/postgres",
        "postgresql://postgres:s3cret@db.[YOUR-PROJECT-REF].supabase.co:5432/postgres",
    ],
)
def test_other_placeholders_of_supabases_pages_are_named(url: str) -> None:
    with pytest.raises(ConfigError, match=r"placeholder.*\[(YOUR-)?(PROJECT-REF|REGION)\]"):
        address({"DATABASE_URL": url})


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {} ", "'{}'", '"{}"\n', "“{}”", "' {} '"])
def test_what_a_file_left_around_an_address_is_taken_off(around: str) -> None:
    url = "postgresql://job:s3cret@localhost:5432/app"
    assert address({"DATABASE_URL": around.format(url)}) == url
    named = {name: around.format(value) for name, value in SUPABASE.items()} | {"SUPABASE_DB_PASSWORD": "x"}
    assert address(named) == address(SUPABASE | {"SUPABASE_DB_PASSWORD": "x"})


def test_an_at_sign_in_the_query_needs_a_slash_before_it() -> None:
    """Without one libpq takes the password for a part of the host, and asks for its address."""
    url = "postgres://localhost?user=a@b.c&password=d@e"
    assert conninfo_to_dict(url)["host"] == "b.c&password=d@e"
    with pytest.raises(ConfigError, match="can be read in more than one way"):
        address({"DATABASE_URL": url})


def test_nothing_but_a_line_end_is_no_address() -> None:
    assert address({"DATABASE_URL": "\n", "SUPABASE_PROJECT_REF": "\n"}) is None


@pytest.mark.parametrize("name", ["DATABASE_URL", "SUPABASE_DB_PASSWORD"])
def test_bytes_of_another_encoding_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: expected UTF-8 text"):
        address(SUPABASE | {name: b"postgresql://job:p\xe9@h/d".decode(errors="surrogateescape")})


def test_a_mode_of_tls_that_libpq_does_not_know_is_named() -> None:
    for env in ({"DATABASE_URL": "postgresql://h/d?sslmode=no-verify"}, SUPABASE | {"PGSSLMODE": "no-verify"}):
        with pytest.raises(ConfigError, match=r"sslmode: expected one of .*'no-verify'.*: require"):
            address({"SUPABASE_DB_PASSWORD": "x"} | env)


def read(url: str) -> tuple[object, ...]:
    """What libpq reads in an address."""
    parts = conninfo_to_dict(url)
    return tuple(parts.get(name) for name in ("password", "user", "host", "port", "dbname"))
