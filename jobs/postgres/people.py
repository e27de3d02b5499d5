"""Names and e-mail addresses of users, for files that people read. Nothing else reads them."""

from collections.abc import Collection, Sequence
from typing import LiteralString, NamedTuple

from psycopg import sql

from jobs.postgres import catalog
from jobs.postgres.connections import Connection
from jobs.postgres.sql_loader import compose
from jobs.settings import Settings


class Person(NamedTuple):
    """The name and the e-mail address of a user; None where there is none, or where this role may not read it."""

    name: str | None = None
    email: str | None = None


def find_readable_columns(connection: Connection, settings: Settings) -> frozenset[str]:
    """Returns which of name and email this role may read in the table users; none where it may not read id."""
    found = catalog.find_readable_columns(connection, settings, "users")
    return found.intersection(Person._fields) if "id" in found else frozenset()


def read_people(connection: Connection, settings: Settings, users: Collection[str]) -> dict[str, Person]:
    """Returns by id those of ``users`` who are in the table users, with what this role may read of them."""
    readable = find_readable_columns(connection, settings)
    if not readable or not users:
        return {}
    parts = {column: sql.Identifier(column) if column in readable else sql.NULL for column in Person._fields}
    rows = connection.execute(compose("people.people", settings, **parts), {"users": sorted(users)}).fetchall()
    return {user: Person(name and str(name), email and str(email)) for user, name, email in rows}


def join_people(settings: Settings, columns: Sequence[str]) -> sql.Composed:
    """Returns a join with what ``columns`` (name, email) hold of the user of a row ``g``, as p.user_name, p.user_email.

    For files with too many users to ask for them by id.
    """
    # Of a view that gives an id twice, one row: two would double the amounts beside it.
    text: LiteralString = "min({}::text) AS {}"
    chosen = [sql.SQL(text).format(sql.Identifier(name), sql.Identifier(f"user_{name}")) for name in columns]
    return compose("people.join", settings, columns=sql.SQL(", ").join(chosen))
