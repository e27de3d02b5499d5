"""Chooses the reader for an address, before anything is read and without polars."""

from jobs.domain.errors import ConfigError
from jobs.postgres.conninfo import Address

UNDERSTOOD = frozenset(
    {"user", "password", "host", "port", "dbname", "sslmode", "sslrootcert"}
    | {"application_name", "connect_timeout", "client_encoding"}  # do not change what is read
)
"""Options of an address that connectorx supports or can ignore."""
FEW = 1_000
"""Fewer rows are read by COPY: loading connectorx and pyarrow, and to connect once more, would take longer."""


def choose_reader(reader: str, address: Address, *, pooled: bool) -> str:
    """Returns "connectorx" or "copy". Raises ConfigError where the settings require connectorx and it cannot work.

    ``pooled``: whether a transaction pooler answers (``pooler.is_transaction_pooled``).
    """
    why = "a transaction pooler" if pooled else _unsupported_feature(address)
    if reader == "connectorx" and why is not None:
        raise ConfigError(f'reader = "connectorx": cannot read over {why}; expected "copy" or "auto"')
    if reader == "auto":
        return "connectorx" if why is None else "copy"
    return reader


def choose_for_rows(chosen: str, reader: str, rows: int) -> str:
    """Returns "copy" instead of ``chosen`` where ``reader`` is "auto" and there are few ``rows``."""
    return "copy" if reader == "auto" and rows < FEW else chosen


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
