"""Finds out whether there is a pooler between the job and the server, and of which kind."""

from jobs.postgres.connections import Connection, connect, transaction
from jobs.postgres.conninfo import Address

DIRECT, SESSION, TRANSACTION = "direct", "session pooler", "transaction pooler"
UNKNOWN = "a pooler of unknown mode: treated as a transaction pooler"


def is_transaction_pooled(address: Address, connection: Connection) -> bool:
    """Whether each transaction may get another server connection: true for every pooler except a session pooler."""
    if address.is_session_pooler:
        return False
    return address.has_pooler_port or _has_pooler(connection)


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
    # No named query: it asks for one value and no table.
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return int(row[0])
