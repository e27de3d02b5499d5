"""Reads usage into a frame: by connectorx where it works, else by psycopg's COPY. Both give the same frame.

connectorx always prepares a statement, which a transaction pooler does not support; it cannot verify a host name, nor
use a unix socket; and it opens its own connection, outside our transaction. Where rows are locked, COPY reads on the
connection that has the locks. A read is one query of some users: one snapshot, with bounded memory.
"""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

import polars as pl
from psycopg import sql

from jobs.domain.errors import UnreachableError, UsageJobsError
from jobs.domain.schemas import USAGE, Schema, usage_schema
from jobs.postgres.connections import NETWORK, Connection
from jobs.postgres.conninfo import Address
from jobs.postgres.errors import RETRIED_MESSAGES
from jobs.postgres.table_io import id_number, read_frame
from jobs.postgres.usage_query import UsageQuery


@dataclass(frozen=True, slots=True)
class Reader:
    """``kind``: "connectorx" or "copy"; ``snapshot``: the name of an exported snapshot that connectorx joins."""

    kind: str
    address: Address
    snapshot: str | None = None

    def read(self, connection: Connection, query: UsageQuery, text: sql.Composed) -> pl.DataFrame:
        """Returns the rows of ``text`` (of UsageQuery) as ``schemas.usage_schema``. With "copy" it needs an open
        transaction.

        A quantity or a recorded cost that is not valid is -1.
        """
        if self.kind == "connectorx":
            return _read_by_connectorx(self.address, text, query, self.snapshot)
        return read_frame(connection, text, _schema(query))


def _read_by_connectorx(address: Address, text: sql.Composed, query: UsageQuery, snapshot: str | None) -> pl.DataFrame:
    import connectorx

    joined = sql.SQL("SET TRANSACTION SNAPSHOT {}").format(snapshot).as_string(None)
    first = ["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", joined] if snapshot else None
    try:
        # Not as a stream: its connection would stay idle in transaction as long as the stream exists.
        table = connectorx.read_sql(
            _plain_url(address), text.as_string(None), return_type="arrow", pre_execution_query=first
        )
    except BaseException as error:
        # An error in the middle is a panic of the library, which is not an Exception.
        if not isinstance(error, RuntimeError) and type(error).__name__ != "PanicException":
            raise
        kind = UnreachableError if RETRIED_MESSAGES.search(str(error)) else UsageJobsError
        raise kind(
            f"connectorx could not read usage_daily from {address!r}: {address.hide_password(str(error))}. Run "
            'again; if the error stays, set reader = "copy"'
        ) from None
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table is a frame, never a series
    ids = [name for name, kind in USAGE.items() if kind == pl.UInt128]
    numbered = frame.with_columns(pl.col(ids).cast(pl.String)).with_columns(map(id_number, ids))
    return numbered.select(pl.col(name).cast(kind) for name, kind in _schema(query).items())


def _plain_url(address: Address) -> str:
    parts = address.parts
    login = quote(parts.get("user", ""), safe="")
    if "password" in parts:
        login += ":" + quote(parts["password"], safe="")
    options: dict[str, str] = {key: parts[key] for key in parts.keys() & {"sslmode", "sslrootcert"}}
    database = quote(parts.get("dbname", parts.get("user", "")), safe="")
    host = f"[{parts['host']}]" if ":" in parts["host"] else parts["host"]
    # The same keepalives as ours, by other names and all in seconds.
    options |= {
        "keepalives_idle": str(NETWORK["keepalives_idle"]),
        "keepalives_interval": str(NETWORK["keepalives_interval"]),
        "keepalives_retries": str(NETWORK["keepalives_count"]),
        "tcp_user_timeout": str(NETWORK["tcp_user_timeout"] // 1000),
    }
    # connectorx opens its own connection, without our SET LOCAL: a short statement_timeout of the role would end long
    # reads.
    options["options"] = (
        "-c statement_timeout=15min -c lock_timeout=10s -c timezone=UTC -c datestyle=ISO -c extra_float_digits=1"
        " -c idle_in_transaction_session_timeout=1min -c application_name=usage-jobs-reader"
    )
    return f"postgresql://{login}@{host}:{parts.get('port', '5432')}/{database}?{urlencode(options, quote_via=quote)}"


def _schema(query: UsageQuery) -> Schema:
    return usage_schema([meter.name for meter in query.meters])
