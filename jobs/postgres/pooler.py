"""Whether a pooler stands between us and the server, and of what kind: some things work only without one."""

from jobs.postgres.connections import Connection, connect, transaction
from jobs.postgres.conninfo import Address

DIRECT, SESSION, TRANSACTION = "direct", "session pooler", "transaction pooler"
UNKNOWN = "a pooler whose mode cannot be told: taken for a transaction pooler"


def is_transaction_pooled(address: Address, connection: Connection) -> bool:
    """Whether transactions may each get another server: so for every pooler that is not known to keep sessions."""
    if address.is_session_pooler:
        return False
    return address.has_pooler_port or _has_pooler(connection)


def named(address: Address, connection: Connection) -> str:
    """What answers at the address, for `check`; opens a second connection where a pooler does."""
    if address.is_session_pooler:
        return SESSION
    if address.has_pooler_port:
        return TRANSACTION
    if not _has_pooler(connection):
        return DIRECT
    with transaction(connection):
        ours = _server(connection)
    # Idle servers are handed out last in, first out: while our connection is open, ours goes to the next client.
    with connect(address) as other, transaction(other):
        return TRANSACTION if _server(other) == ours else UNKNOWN


def _has_pooler(connection: Connection) -> bool:
    """A pooler makes a process id up when it greets its client: it is not that of the server which then answers."""
    with transaction(connection):
        return _server(connection) != connection.info.backend_pid


def _server(connection: Connection) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return int(row[0])
