"""Any password at all, pasted or raw: libpq reads the one that was meant, or nothing is sent anywhere."""

from contextlib import suppress
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passwords import PASSWORDS, SUPABASE, WAYS
from psycopg.conninfo import conninfo_to_dict

from jobs.model.address import address
from jobs.model.errors import ConfigError

environmental = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1)
PIECES = (*"@#%/?:&=[]+;, ", "%41", "%zz", "ü", "a", "x1", "@h", "/d", "?user=", "?password=", "host=", "://", "5432")
pasted = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)


@given(environmental)
def test_a_raw_password_always_reaches_libpq(password: str) -> None:
    for way, (user, host, port) in WAYS.items():
        found = address(SUPABASE | {"SUPABASE_DB_PASSWORD": password, "SUPABASE_CONNECTION": way})
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


def read(url: str) -> tuple[object, ...]:
    """What libpq reads in an address."""
    parts = conninfo_to_dict(url)
    return tuple(parts.get(name) for name in ("password", "user", "host", "port", "dbname"))
