"""``rollup.credit_draws`` read, and the rows of usage_daily that show it; ``accounts.post`` is what adds to it."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

import polars as pl
from psycopg import sql

from jobs.model.frames import DRAWS
from jobs.model.scale import scaled, unscaled
from jobs.model.windows import last_of
from jobs.settings import Settings
from jobs.store import tables
from jobs.store.database import Connection
from jobs.store.faults import writing
from jobs.store.statements import listed, own, source, statement


def draws(
    connection: Connection, settings: Settings, months: Iterable[date], users: Collection[str] | None = None
) -> Iterator[pl.DataFrame]:
    """The draws booked in ``months`` (of ``users``) as frames.DRAWS, in blocks; needs an open transaction."""
    of, rows = tables.table(settings, "credit_draws"), _in_months(months)
    if users is not None:
        rows += sql.SQL(" AND user_id = ANY({})").format(listed(users))
    names = {"usage_daily_id": "id", "usage_date": "date"}
    columns = ["usage_daily_id", "user_id", "usage_date", "revision", "free", "purchased"]
    for block in tables.read(connection, settings, of, columns, rows):
        yield block.rename(names).select(pl.col(name).cast(kind) for name, kind in DRAWS.items())


def _in_months(months: Iterable[date]) -> sql.Composed:
    spans = [sql.SQL("usage_date BETWEEN {} AND {}").format(month, last_of(month)) for month in months]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(spans))


def has_adopted(connection: Connection, settings: Settings, months: Iterable[date]) -> bool:
    """Whether another program has drawn in ``months``, before the ledger began."""
    text = statement("has_adopted", draws=own(settings, "credit_draws"), rows=_in_months(months))
    row = connection.execute(text).fetchone()
    return row is not None and bool(row[0])


def holds_any(connection: Connection, settings: Settings) -> bool:
    """Whether anything has ever been booked."""
    row = connection.execute(statement("holds_draws", draws=own(settings, "credit_draws"))).fetchone()
    return row is not None and bool(row[0])


def known(connection: Connection, settings: Settings, ids: Sequence[int]) -> pl.DataFrame:
    """What all months say of some rows: id, user_id, drawn (units of 10^-10), imported, by user."""
    text = statement("drawn_of_rows", draws=own(settings, "credit_draws"))
    rows = connection.execute(text, {"ids": [UUID(int=id_) for id_ in ids]}).fetchall() if ids else []
    found = [(id_.int, user, scaled(amount), imported) for id_, user, amount, imported in rows]
    schema = {"id": pl.UInt128, "user_id": pl.String, "drawn": pl.Int128, "imported": pl.Boolean}
    return pl.DataFrame(found, schema=schema, orient="row")


@dataclass(frozen=True, slots=True)
class Mended:
    """A row of usage_daily that no chunk of a present user writes: its credits_deducted before and after."""

    id: int
    user: str | None
    old: Decimal
    new: Decimal


def mend(
    connection: Connection,
    settings: Settings,
    vanished: pl.DataFrame,
    bad: Collection[int],
    spans: Collection[tuple[date, date]],
    *,
    booked: bool,
) -> list[Mended]:
    """Writes credits_deducted of rows that were reversed for their user and that nobody else will write; which.

    In: ``vanished`` postings, ``bad`` ids of rejected rows. Where nothing has been ``booked`` (a dry run) it tells
    which that would be.
    """
    ids = vanished["id"].to_list()
    values = {
        "ids": [UUID(int=id_) for id_ in ids],
        "users": vanished["user_id"].to_list(),
        "bad": [UUID(int=id_) for id_ in ids if id_ in bad],
        "firsts": [first for first, _ in spans],
        "lasts": [last for _, last in spans],
    }
    usage = source(settings, "usage_daily")
    mendable = statement("mendable", usage=usage, draws=own(settings, "credit_draws"))
    more: dict[tuple[int, str | None], int] = defaultdict(int)
    if not booked:
        for id_, user, free, purchased in vanished.select("id", "user_id", "free", "purchased").iter_rows():
            more[id_, user] += free + purchased
    found = {(id_.int, user): amounts for id_, user, *amounts in connection.execute(mendable, values)}
    every = [Mended(*key, deducted, drawn_ + unscaled(more[key])) for key, (deducted, drawn_) in found.items()]
    mended = [row for row in every if row.old != row.new]
    if booked and mended:
        with writing("usage_daily"):
            connection.execute(statement("mend_rows", usage=usage, mendable=mendable), values)
    return mended
