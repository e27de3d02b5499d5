"""Reads usage into a frame: by connectorx, or by psycopg's COPY. Both give the same frame.

connectorx reads the batches of a run or dry run that are not locked yet, if all of these hold: ``reader`` is not
"copy"; there is no transaction pooler; it supports the address; and, with ``reader = "auto"``, the run has FEWEST_ROWS.
In all other cases COPY reads: locked rows, on the connection that has the locks, and all that commands in
``jobs.audit`` and ``jobs.reports`` read.

connectorx always prepares a statement, which a transaction pooler does not support; it cannot verify a host name, nor
use a unix socket; and it opens its own connection, outside our transaction. A read is one query of some users: one
snapshot, with bounded memory.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from psycopg import sql

from jobs.domain.errors import ConfigError, UnreachableError, UsageJobsError
from jobs.postgres.connections import NETWORK, Connection, connect, read_value, transaction
from jobs.postgres.conninfo import Address
from jobs.postgres.errors import RETRIED_MESSAGES
from jobs.postgres.usage_query import UsageQuery

if TYPE_CHECKING:
    import polars as pl

DIRECT, SESSION, TRANSACTION = "direct", "session pooler", "transaction pooler"
UNKNOWN = "a pooler of unknown mode: treated as a transaction pooler"
UNDERSTOOD = frozenset(
    {"user", "password", "host", "port", "dbname", "sslmode", "sslrootcert"}
    | {"application_name", "connect_timeout", "client_encoding"}  # do not change what is read
)
"""Options of an address that connectorx supports or can ignore."""
FEWEST_ROWS = 1_000
"""Fewer rows are read by COPY: loading connectorx and pyarrow, and to connect once more, would take longer."""


def is_transaction_pooled(address: Address, connection: Connection) -> bool:
    """Whether each transaction may get another server connection: with every pooler but Supabase's session pooler."""
    return not address.is_session_pooler and (address.has_pooler_port or _has_pooler(connection))


def describe_pooler(address: Address, connection: Connection) -> str:
    """Returns what is at the address, for `check`. Opens a second connection where it is an unknown pooler."""
    if not is_transaction_pooled(address, connection):
        return SESSION if address.is_session_pooler else DIRECT
    if address.has_pooler_port:
        return TRANSACTION
    with transaction(connection):
        ours = _server_pid(connection)
    # A transaction pooler gives the server connection used last to the next client, although our connection is open.
    with connect(address) as other, transaction(other):
        return TRANSACTION if _server_pid(other) == ours else UNKNOWN


def _has_pooler(connection: Connection) -> bool:
    """Whether there is a pooler: it sends its client a made-up process id, which is not that of the server process."""
    with transaction(connection):
        return _server_pid(connection) != connection.info.backend_pid


def _server_pid(connection: Connection) -> int:
    return int(read_value(connection, "SELECT pg_backend_pid()"))


def choose_reader(setting: str, address: Address, *, pooled: bool) -> str:
    """Returns "connectorx" or "copy". Raises ConfigError where the settings require connectorx and it cannot work.

    ``pooled``: whether a transaction pooler answers (``is_transaction_pooled``).
    """
    why = "a transaction pooler" if pooled else _unsupported_feature(address)
    if setting == "connectorx" and why is not None:
        raise ConfigError(f'reader = "connectorx": cannot read over {why}; expected "copy" or "auto"')
    if setting == "auto":
        return "connectorx" if why is None else "copy"
    return setting


def choose_for_rows(kind: str, setting: str, rows: int) -> str:
    """Returns "copy" instead of ``kind`` where the ``setting`` is "auto" and there are few ``rows``."""
    return "copy" if setting == "auto" and rows < FEWEST_ROWS else kind


def _unsupported_feature(address: Address) -> str | None:
    """Returns the part of an address that connectorx does not support, or would ignore (it might then read from another
    server); None where it supports all of it."""
    if not address.host or address.host.startswith("/"):
        return "a unix socket"
    if "," in address.host:
        return "several hosts"
    mode = address.parts.get("sslmode", "prefer")
    if mode not in ("disable", "prefer", "require"):
        return f"sslmode={mode}"
    unknown = sorted(address.parts.keys() - UNDERSTOOD)
    return f"an address with {', '.join(unknown)}" if unknown else None


@dataclass(frozen=True, slots=True)
class Reader:
    """``kind``: "connectorx" or "copy"; ``snapshot``: the name of an exported snapshot that connectorx joins."""

    kind: str
    address: Address
    snapshot: str | None = None

    def read(self, connection: Connection, query: UsageQuery, text: sql.Composed) -> "pl.DataFrame":
        """Returns the rows of ``text`` (of UsageQuery) as ``schemas.usage_schema``. With "copy" it needs an open
        transaction.

        A quantity or a recorded cost that is not valid is -1.
        """
        import polars as pl

        from jobs.domain.schemas import usage_schema
        from jobs.postgres.table_io import id_number, read_frame

        schema = usage_schema([meter.name for meter in query.meters])
        if self.kind == "copy":
            return read_frame(connection, text, schema)
        return self._read_by_connectorx(text).select(
            id_number(name) if kind == pl.UInt128 else pl.col(name).cast(kind) for name, kind in schema.items()
        )

    def _read_by_connectorx(self, text: sql.Composed) -> "pl.DataFrame":
        import connectorx

        joined = sql.SQL("SET TRANSACTION SNAPSHOT {}").format(self.snapshot).as_string(None)
        first = ["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", joined] if self.snapshot else None
        address = self.address
        try:
            # Not as a stream: its connection would stay idle in transaction as long as the stream exists.
            frame: pl.DataFrame = connectorx.read_sql(
                _plain_url(address), text.as_string(None), return_type="polars", pre_execution_query=first
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
        return frame


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
