"""The job's own login role: it has what `usage-jobs schema --role` grants, anew whenever that may have changed."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from jobs.domain.errors import UsageJobsError
from jobs.postgres.conninfo import Address
from jobs.postgres.role_script import MARK
from jobs.postgres.schema_script import apply_schema
from jobs.settings import Settings

SHAPE = """
SELECT md5(concat_ws(' ',
  (SELECT string_agg(concat_ws(' ', c.oid, c.relname, c.relkind, c.relacl, c.relrowsecurity, a.attname, a.atttypid,
     a.atttypmod, a.attacl), ',' ORDER BY c.oid, a.attnum)
   FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND NOT a.attisdropped
   WHERE c.relnamespace::regnamespace::text = ANY(%(schemas)s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')),
  (SELECT string_agg(concat_ws(' ', oid, nspacl), ',' ORDER BY oid) FROM pg_namespace WHERE nspname = ANY(%(schemas)s)),
  (SELECT string_agg(p::text, ',' ORDER BY p::text) FROM pg_policies AS p WHERE schemaname = ANY(%(schemas)s))))
"""
"""What the grants depend on, and they themselves; where a month is open that was rated, `_rated` too."""


class AsRole:
    """A login role that has no right in a database until the address there is asked for."""

    def __init__(self) -> None:
        self.name = f"job_{os.getpid()}"
        self._password = secrets.token_urlsafe(16)
        self._granted: dict[str, tuple[object, ...]] = {}

    def url(self, url: str, settings: Callable[[], Settings]) -> str:
        """The address as the role, which has been granted what it needs under these settings."""
        # Settings that cannot be loaded and tables that are not there: the job has to say so itself.
        with suppress(UsageJobsError):
            self._grant(url, settings())
        parts = urlsplit(url)
        return parts._replace(netloc=f"{self.name}:{self._password}@{parts.hostname}:{parts.port or 5432}").geturl()

    def owner_url(self, url: str) -> str:
        return url

    def left(self, url: str) -> None:
        """A job that has ended keeps nothing open."""

    def _grant(self, url: str, settings: Settings) -> None:
        wanted = repr(settings)
        with psycopg.connect(url, autocommit=True) as connection:
            if self._granted.get(url) == (wanted, *_state(connection, settings)):
                return
            apply_schema(settings, Address(url), role=self.name)
            self._granted[url] = (wanted, *_state(connection, settings))

    def make(self, connection: psycopg.Connection) -> None:
        made = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(self.name), self._password)
        connection.execute(made)
        mark = sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(self.name), MARK)
        connection.execute(mark)

    def drop(self, connection: psycopg.Connection) -> None:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(self.name)))


@contextmanager
def role(url: str) -> Iterator[AsRole]:
    """A role for as long as the block lasts; no database that it was granted something in may outlive that."""
    found = AsRole()
    with psycopg.connect(url, autocommit=True) as connection:
        found.make(connection)
        yield found
        found.drop(connection)


def _state(connection: psycopg.Connection, settings: Settings) -> tuple[object, ...]:
    schemas = {"schemas": [settings.source_schema, settings.rollup_schema]}
    return (*(connection.execute(SHAPE, schemas).fetchone() or ()), _rated(connection, settings))


def _rated(connection: psycopg.Connection, settings: Settings) -> object:
    """Whether total_cost will be written whatever the settings say."""
    text = sql.SQL("SELECT EXISTS (SELECT FROM {}.months WHERE cost_mode = 'rated' AND closed_at IS NULL)")
    with suppress(psycopg.Error):
        return connection.execute(text.format(sql.Identifier(settings.rollup_schema))).fetchone()
    return None
