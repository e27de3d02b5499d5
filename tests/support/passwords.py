"""Passwords that people have and addresses suffer from; roles that have them; Supabase's ways to a database."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import psycopg
import pytest
from commands import ask
from psycopg import sql

AWKWARD = "p@ss#w%rd/with:all?of ' \" \\ & =[1] ünïcode😀"
PASSWORDS = [
    *("p@ss", "a@b@c", "a#b", "a/b", "a//b", "a?b", "100%", "a%zz", "a:b", ":", "a b", "a&b=c", "[x]", "it's", 'a"b'),
    *("back\\slash", "$HOME ${HOME} $(id) `id`", "pässwörd😀", "a+b", "a;b,c", "%", "@", "#", "/", "?", AWKWARD),
]
SUPABASE = {"SUPABASE_PROJECT_REF": "abcd", "SUPABASE_REGION": "xx-test-1"}
POOLER = "aws-0-xx-test-1.pooler.supabase.com"
"""A host that does not exist, of a region that does not."""
WAYS = {
    "pooler": ("postgres.abcd", POOLER, 6543),
    "session": ("postgres.abcd", POOLER, 5432),
    "direct": ("postgres", "db.abcd.supabase.co", 5432),
}
"""User, host and port by SUPABASE_CONNECTION, where SUPABASE_PROJECT_REF and SUPABASE_REGION are as above."""


@contextmanager
def role(database: str, password: str) -> Iterator[str]:
    """The address of ``database`` without a password, as a superuser who has this one, as long as the block lasts."""
    parts = urlsplit(database)
    name = f"{parts.path[1:]}_awkward"
    with psycopg.connect(database) as connection:
        text = sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}")
        connection.execute(text.format(sql.Identifier(name), password))
    try:
        url = parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}").geturl()
        with suppress(psycopg.OperationalError):
            psycopg.connect(with_password(url, "another")).close()
            pytest.skip("this server asks for no password")
        yield url
    finally:
        ask(database, f'REASSIGN OWNED BY "{name}" TO CURRENT_USER; DROP ROLE "{name}"')


def with_password(url: str, written: str) -> str:
    """An address with a password that stands there as it is ``written``, encoded or not."""
    return url.replace("@", f":{written}@", 1)
