"""Which reader can go to an address: asked before anything is read, and without polars."""

from jobs.domain.errors import ConfigError
from jobs.postgres.conninfo import Address

UNDERSTOOD = frozenset(
    {"user", "password", "host", "port", "dbname", "sslmode", "sslrootcert"}
    | {"application_name", "connect_timeout", "client_encoding"}  # of no matter to what is read
)
"""Options of an address that connectorx honours, or need not."""
FEW = 1_000
"""Fewer rows are read by COPY: to load connectorx and pyarrow and to open its connection would take longer."""


def choose_reader(reader: str, address: Address, *, pooled: bool) -> str:
    """ "connectorx" or "copy"; ConfigError where the settings demand connectorx and it cannot work there.

    ``pooled``: whether a transaction pooler answers (``pooler.is_transaction_pooled``).
    """
    why = "a transaction pooler" if pooled else _beyond(address)
    if reader == "connectorx" and why is not None:
        raise ConfigError(f'reader = "connectorx": cannot read over {why}; expected "copy" or "auto"')
    if reader == "auto":
        return "connectorx" if why is None else "copy"
    return reader


def for_rows(chosen: str, reader: str, rows: int) -> str:
    """COPY instead of what was ``chosen``, where ``reader`` is "auto" and few rows are to be read."""
    return "copy" if reader == "auto" and rows < FEW else chosen


def _beyond(address: Address) -> str | None:
    """What of an address connectorx does not know, or would drop in silence: the read might go elsewhere."""
    if not address.host or address.host.startswith("/"):
        return "a unix socket"
    if "," in address.host:
        return "several hosts"
    mode = address.parts.get("sslmode", "prefer")
    if mode not in ("disable", "prefer", "require"):
        return f"sslmode={mode}"
    unknown = sorted(address.parts.keys() - UNDERSTOOD)
    return f"an address with {', '.join(unknown)}" if unknown else None
