"""Chooses the reader: whether connectorx or COPY reads usage. Finds out whether there is a pooler before the server.

connectorx reads the batches of a run or dry run that are not locked yet, if all of these hold: ``reader`` is not
"copy"; there is no transaction pooler; it supports the address; and, with ``reader = "auto"``, the run has FEWEST_ROWS.
In all other cases COPY reads: locked rows, and all that commands in ``jobs.audit`` and ``jobs.reports`` read.
"""

from jobs.domain.errors import ConfigError
from jobs.postgres.connections import Connection, connect, read_value, transaction
from jobs.postgres.conninfo import Address

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
    if address.is_session_pooler:
        return SESSION
    if address.has_pooler_port:
        return TRANSACTION
    if not _has_pooler(connection):
        return DIRECT
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
