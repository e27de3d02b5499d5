"""Two readers, one frame: connectorx on direct and session connections, psycopg's COPY everywhere else.

connectorx prepares a statement always, which a transaction pooler does not take; it cannot check a host name, nor
use a unix socket, and it holds a whole result in memory: its reads are cut into runs of days by the planner's
estimate. COPY streams, one snapshot for all days.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from io import BytesIO
from math import ceil
from urllib.parse import quote, urlencode

import polars as pl
from psycopg import sql

from jobs.model.errors import ConfigError, UsageJobsError
from jobs.model.frames import usage_schema
from jobs.store.database import Address, Connection, transaction
from jobs.store.usage import UsageQuery

BLOCK = 32 * 2**20
"""Bytes of CSV that are parsed at a time."""
BATCH_ROWS = 500_000
"""Rows that connectorx is asked for at a time, about: 100 MB."""


def chosen(reader: str, address: Address) -> str:
    """ "connectorx" or "copy"; ConfigError where the settings demand connectorx and it cannot work there."""
    parts = address.parts
    local = not parts.get("host") or parts["host"].startswith("/")
    verified = parts.get("sslmode", "").startswith("verify")
    if reader == "connectorx" and (local or verified or address.pooled):
        why = "a unix socket" if local else "a transaction pooler" if address.pooled else "sslmode=verify-…"
        raise ConfigError(f'reader = "connectorx": cannot read over {why}; expected "copy" or "auto"')
    if reader != "auto":
        return reader
    return "copy" if local or verified or address.pooled else "connectorx"


def batches(
    address: Address, connection: Connection, reader: str, query: UsageQuery, spans: list[tuple[date, date]]
) -> Iterator[pl.DataFrame]:
    """The usage of ``spans`` as ``frames.usage_schema``; a row that cannot be taken holds a -1 or a null."""
    for first, last in spans:
        if reader == "copy":
            yield from copied(connection, query.days(first, last), query)
            continue
        for start, end in _cut(connection, query, first, last):
            yield _by_connectorx(address, query.days(start, end).as_string(None), query)


def estimated(connection: Connection, text: sql.Composed) -> int:
    """The planner's estimate of the rows of a query."""
    plan = connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) ") + text).fetchone()
    assert plan is not None  # noqa: S101
    return int(plan[0][0]["Plan"]["Plan Rows"])


def _cut(connection: Connection, query: UsageQuery, first: date, last: date) -> Iterator[tuple[date, date]]:
    days = (last - first).days + 1
    limit = min(BATCH_ROWS, query.settings.max_rows_per_chunk)
    pieces = min(days, max(1, ceil(estimated(connection, query.days(first, last)) / limit)))
    step = ceil(days / pieces)
    for start in range(0, days, step):
        yield first + timedelta(days=start), min(last, first + timedelta(days=start + step - 1))


def _by_connectorx(address: Address, text: str, query: UsageQuery) -> pl.DataFrame:
    import connectorx

    try:
        frame = connectorx.read_sql(_plain_url(address), text, return_type="polars")
    except Exception as error:  # connectorx raises RuntimeError and a panic's own class alike
        raise UsageJobsError(
            f"connectorx could not read usage_daily from {address!r}: {address.scrubbed(str(error))}. "
            'Try reader = "copy" in the settings'
        ) from None
    return _coded(frame, query)


def _plain_url(address: Address) -> str:
    parts = address.parts
    login = quote(parts.get("user", ""), safe="")
    if "password" in parts:
        login += ":" + quote(parts["password"], safe="")
    options = [(key, parts[key]) for key in ("sslmode", "sslrootcert") if key in parts]
    database = quote(parts.get("dbname", parts.get("user", "")), safe="")
    address_ = f"postgresql://{login}@{parts['host']}:{parts.get('port', '5432')}/{database}"
    return address_ + (f"?{urlencode(options)}" if options else "")


def copied(connection: Connection, text: sql.Composed, query: UsageQuery) -> Iterator[pl.DataFrame]:
    """The rows of one statement, streamed in blocks; opens its own transaction where none is open."""
    with transaction(connection), connection.cursor() as cursor:
        with cursor.copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(text)) as copy:
            block = bytearray()
            for line in copy:
                block += line
                if len(block) >= BLOCK:
                    yield _parsed(block, query)
                    block = bytearray()
        yield _parsed(block, query)


def _parsed(block: bytearray, query: UsageQuery) -> pl.DataFrame:
    names = ["id", "user_id", "date", "cluster_id", "recorded", "version", *(m.name for m in query.meters)]
    kinds = {"id": pl.String, "user_id": pl.String, "date": pl.Date, "cluster_id": pl.String}
    schema = {name: kinds.get(name, pl.Int64) for name in names}
    if not block:
        return _coded(pl.DataFrame(schema=schema), query)
    return _coded(pl.read_csv(BytesIO(block), has_header=False, schema=schema), query)


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
    return [str(row[0]) for row in connection.execute(query.undated())]
