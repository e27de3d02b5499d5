"""Two readers, one frame: psycopg's COPY, of many rows at a time (``packed``), and connectorx for who asks for it.

COPY works wherever the job does, and at less than half of the cost: measured on 3 million rows, server and client
together need 4 seconds of a processor, with connectorx 8.6. connectorx prepares a statement always, which a transaction
pooler does not take; it cannot check a host name, nor use a unix socket, and holds every thread while it waits. With
either a read is one snapshot, whatever its size.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from datetime import date
from io import BytesIO
from urllib.parse import quote, urlencode

import polars as pl
from psycopg import sql
from psycopg.pq import TransactionStatus

from jobs.model.errors import ConfigError, UnreachableError, UsageJobsError
from jobs.model.frames import usage_schema
from jobs.store import arms, packed
from jobs.store.address import Address
from jobs.store.database import NETWORK, Connection, Link, blocks, transaction
from jobs.store.team import side_by_side
from jobs.store.usage import UsageQuery

BATCH_ROWS = 100_000
"""Rows that connectorx hands over at a time: about 15 MB."""
SHARE = 8
"""Arms of one statement. The server holds the bytes of all of them until it ends: where that was one for 30 million
rows, each of its two processes held 2.7 GB."""


LOST = re.compile(
    r"kind: (Closed|Io)\b|SqlState\(E(08|57P|53300)|timed out waiting for connection|connection closed"
    "|error (communicating with|connecting to) (the )?server"
)
"""What connectorx says where the server or the way to it went away: its driver's errors, in its driver's words."""

UNDERSTOOD = frozenset(
    {"user", "password", "host", "port", "dbname", "sslmode", "sslrootcert"}
    | {"application_name", "connect_timeout", "client_encoding"}  # of no matter to what is read
)
"""Options of an address that connectorx honours, or need not."""


def chosen(reader: str, address: Address, *, pooled: bool) -> str:
    """ "connectorx" or "copy"; ConfigError where the settings demand connectorx and it cannot work there.

    ``pooled``: whether a transaction pooler answers (``pooling.is_transaction_pooled``).
    """
    why = "a transaction pooler" if pooled else _beyond(address)
    if reader == "connectorx" and why is not None:
        raise ConfigError(f'reader = "connectorx": cannot read over {why}; expected "copy" or "auto"')
    return "copy" if reader == "auto" else reader


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


def batches(
    address: Address,
    connection: Connection,
    reader: str,
    query: UsageQuery,
    spans: list[tuple[date, date]],
    others: Sequence[Link] = (),
) -> Iterator[pl.DataFrame]:
    """The usage of ``spans`` as ``frames.usage_schema``; a row that cannot be taken holds a -1 or a null.

    Whatever its size it is one snapshot. ``others``: connections that may read it side by side.
    """
    if reader == "connectorx":
        return _streamed(address, query.days(spans), query)
    return _packed(connection, query, spans, others)


def _packed(
    connection: Connection, query: UsageQuery, spans: list[tuple[date, date]], others: Sequence[Link]
) -> Iterator[pl.DataFrame]:
    alone = connection.info.transaction_status == TransactionStatus.IDLE
    with ExitStack() as shared:
        with transaction(connection, snapshot=alone):
            some = arms.arms(connection, query, spans, frozen=alone)
            if not some:
                yield from copied(connection, query.days(spans), query)
                return
            if not alone or len(others) < 2 or len(some) < len(others):
                yield from _unpacked(connection, query, some)
                return
            row = connection.execute("SELECT pg_export_snapshot()").fetchone()
            for link in others:
                shared.enter_context(transaction(link.connection, shared=row[0] if row else None))
        shares = [some[n :: len(others)] for n in range(len(others))]
        yield from side_by_side(others, lambda link, share: _unpacked(link.connection, query, share), shares)


def _unpacked(connection: Connection, query: UsageQuery, some: list[sql.Composed]) -> Iterator[pl.DataFrame]:
    """The rows of some arms; those that hold something unusual are read again, rounded by the server or row by row."""
    # Compiling hundreds of arms would take longer than running them.
    connection.execute("SET LOCAL jit = off")
    rounded = False
    for share in _shares(some):
        odd = share if rounded else (yield from _frames(connection, query, share, rounded=False))
        # Where most are unusual, all numbers are finer than ours: those to come are not read twice.
        rounded |= len(odd) * 2 > len(share)
        if odd:
            odd = yield from _frames(connection, query, odd, rounded=True)
        for rows in odd:
            yield from copied(connection, query.where(rows), query)


def _frames(
    connection: Connection, query: UsageQuery, some: list[sql.Composed], *, rounded: bool
) -> Generator[pl.DataFrame, None, list[sql.Composed]]:
    """The rows of some arms, but for those that hold something unusual: these it returns."""
    odd = []
    for part in packed.frames(connection, query, some, rounded=rounded):
        if isinstance(part, pl.DataFrame):
            yield part
        else:
            odd.append(part)
    return odd


def _shares(some: list[sql.Composed]) -> Iterator[list[sql.Composed]]:
    """The arms of each statement; the first is alone, to show what the numbers are like."""
    yield some[:1]
    for at in range(1, len(some), SHARE):
        yield some[at : at + SHARE]


def _streamed(address: Address, text: sql.Composed, query: UsageQuery) -> Iterator[pl.DataFrame]:
    import connectorx

    try:
        # "arrow_stream", not "polars": that would hold the whole result in memory, twice.
        stream = connectorx.read_sql(
            _plain_url(address), text.as_string(None), return_type="arrow_stream", batch_size=BATCH_ROWS
        )
        for batch in stream:
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a record batch is a frame, never a series
            yield _coded(frame, query)
    except BaseException as error:
        # What breaks in mid-stream is a panic of the library's, which is no Exception.
        if not isinstance(error, RuntimeError) and type(error).__name__ != "PanicException":
            raise
        kind = UnreachableError if LOST.search(str(error)) else UsageJobsError
        raise kind(
            f"connectorx could not read usage_daily from {address!r}: {address.scrubbed(str(error))}. Run again; if "
            'it stays so, set reader = "copy"'
        ) from None


def _plain_url(address: Address) -> str:
    parts = address.parts
    login = quote(parts.get("user", ""), safe="")
    if "password" in parts:
        login += ":" + quote(parts["password"], safe="")
    options: dict[str, str] = {key: parts[key] for key in parts.keys() & {"sslmode", "sslrootcert"}}
    database = quote(parts.get("dbname", parts.get("user", "")), safe="")
    host = f"[{parts['host']}]" if ":" in parts["host"] else parts["host"]
    # As patient with a network that swallows packets as we are, by other names and all in seconds.
    options |= {
        "keepalives_idle": str(NETWORK["keepalives_idle"]),
        "keepalives_interval": str(NETWORK["keepalives_interval"]),
        "keepalives_retries": str(NETWORK["keepalives_count"]),
        "tcp_user_timeout": str(NETWORK["tcp_user_timeout"] // 1000),
    }
    # connectorx opens its own connection, to which no SET LOCAL of ours reaches: a role's short statement_timeout
    # would end exactly the longest read.
    options["options"] = "-c statement_timeout=15min -c lock_timeout=30s -c timezone=UTC -c datestyle=ISO"
    return f"postgresql://{login}@{host}:{parts.get('port', '5432')}/{database}?{urlencode(options, quote_via=quote)}"


def copied(connection: Connection, text: sql.Composed, query: UsageQuery) -> Iterator[pl.DataFrame]:
    """The rows of one statement, streamed in blocks; opens its own transaction where none is open."""
    with transaction(connection):
        for block in blocks(connection, text):
            yield _parsed(block, query)


def _parsed(block: BytesIO, query: UsageQuery) -> pl.DataFrame:
    names = usage_schema([meter.name for meter in query.meters])
    kinds = {"id": pl.String, "user_id": pl.String, "date": pl.Date, "cluster_id": pl.String}
    schema = {name: kinds.get(name, pl.Int64) for name in names}
    if not block.getbuffer().nbytes:
        return _coded(pl.DataFrame(schema=schema), query)
    return _coded(pl.read_csv(block, has_header=False, schema=schema), query)


def _coded(frame: pl.DataFrame, query: UsageQuery) -> pl.DataFrame:
    """Ids as 128-bit numbers: a third of the memory of their text, and fast to sort; columns in one order."""
    schema = usage_schema([meter.name for meter in query.meters])
    hexadecimal = pl.col("id", "cluster_id").cast(pl.String).str.replace_all("-", "", literal=True)
    numbers = hexadecimal.str.to_integer(base=16, dtype=pl.UInt128)
    return frame.with_columns(numbers).select(pl.col(name).cast(kind) for name, kind in schema.items())


def latest(connection: Connection, text: sql.Composed, query: UsageQuery) -> pl.DataFrame:
    """The rows of one statement in one frame."""
    return pl.concat(copied(connection, text, query))


def undated(connection: Connection, query: UsageQuery) -> list[str]:
    """The ids of rows whose date is null or infinite."""
    with transaction(connection):
        return [str(row[0]) for row in connection.execute(query.undated())]
