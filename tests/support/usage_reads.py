"""Reads usage as a run in recorded mode does, with either reader, outside of any run."""

from collections.abc import Collection
from datetime import date
from pathlib import Path

import polars as pl

from jobs.domain.billing_periods import first_of
from jobs.pipeline.planning import define_fingerprint, make_usage_query
from jobs.postgres import preflight
from jobs.postgres.connections import Connection, connect, transaction
from jobs.postgres.conninfo import Address
from jobs.postgres.sql_loader import in_spans
from jobs.postgres.usage_query import UsageQuery
from jobs.postgres.usage_reader import Reader
from jobs.settings import Settings, load

Spans = Collection[tuple[date, date]]
READERS = ("connectorx", "copy")


def recorded_query(connection: Connection, settings: Settings, month: date) -> UsageQuery:
    """The query of every meter that has a column, each with a price on every day; ``month``: what it reads of."""
    source, _ = preflight.inspect_source(connection, settings)
    covered = {first_of(month): define_fingerprint(source, rated=False)}
    return make_usage_query(settings, source, {meter.name: date.min for meter in source.meters}, covered, frozenset())


def read_spans(connection: Connection, reader: Reader, query: UsageQuery, spans: Spans) -> pl.DataFrame:
    """The rows of the days of ``spans``, sorted by id."""
    with transaction(connection):
        return reader.read(connection, query, query.rows_where(in_spans("date", spans))).sort("id")


def read_usage(url: str, kind: str, spans: Spans) -> pl.DataFrame:
    """The same over a connection of its own to ``url``, with the settings that ship; ``kind`` of READERS."""
    address, settings = Address(url), load(None, {}, Path.cwd())
    with connect(address) as connection:
        query = recorded_query(connection, settings, min(spans)[0])
        return read_spans(connection, Reader(kind, address), query, spans)
