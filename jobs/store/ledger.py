"""``rollup.credit_draws`` read, and rows of usage_daily that show draws of a user who has lost them.

``accounts.post`` is what adds to the ledger. ``table``: the ledger, or what a dry run takes for it (``adoption``).
"""

from collections.abc import Collection, Iterable
from datetime import date
from uuid import UUID

import polars as pl
from psycopg import sql

from jobs.model.frames import DRAWS
from jobs.model.scale import scaled
from jobs.model.windows import month_spans
from jobs.settings import Settings
from jobs.store import tables
from jobs.store.database import Connection
from jobs.store.statements import listed, own, statement, within

ROWS: dict[str, pl.DataType | type[pl.DataType]] = {"id": pl.UInt128, "user_id": pl.String}
"""Rows of usage_daily and whose draws on them are meant."""


def draws(
    connection: Connection, settings: Settings, table: sql.Composable, months: Iterable[date], users: Collection[str]
) -> pl.DataFrame:
    """The draws of ``users`` in ``months`` as frames.DRAWS; needs an open transaction."""
    of = tables.table(settings, "credit_draws")
    rows = sql.SQL("user_id = ANY({}) AND {}").format(listed(users), within("usage_date", month_spans(months)))
    names = {"usage_daily_id": "id", "usage_date": "date"}
    columns = ["usage_daily_id", "user_id", "usage_date", "imported", "free", "purchased"]
    found = pl.concat(tables.read(connection, of, columns, table, rows))
    return found.rename(names).select(pl.col(name).cast(kind) for name, kind in DRAWS.items())


def adopted_elsewhere(
    connection: Connection, table: sql.Composable, months: Collection[date], users: Collection[str]
) -> pl.DataFrame:
    """Rows of ``users`` on which draws were adopted in other months than these (ROWS), whatever became of the draws."""
    text = statement("adopted_elsewhere", draws=table, users=listed(users))
    rows = connection.execute(text, {"months": list(months)})
    return pl.DataFrame([(id_.int, user) for id_, user in rows], schema=ROWS, orient="row")


def drawn_by_row(
    connection: Connection, table: sql.Composable, users: Collection[str]
) -> dict[tuple[str, int], tuple[int, int]]:
    """What was drawn of ``users`` in all months, free and purchased (units of 10^-10), by user and row."""
    rows = connection.execute(statement("drawn_by_row", draws=table, users=listed(users)))
    return {(user, id_.int): (scaled(free), scaled(purchased)) for user, id_, free, purchased in rows}


def totals_of_rows(
    connection: Connection, settings: Settings, table: sql.Composable, ids: Collection[int], window: Collection[date]
) -> pl.DataFrame:
    """What all months say of some rows, by user: id, user_id, drawn (units of 10^-10); ``before``: what was drawn
    before the newest entry; and ``elsewhere``: what stands in closed months but those of ``window``."""
    text = statement("drawn_of_rows", draws=table, months=own(settings, "months"))
    values = {"ids": [UUID(int=id_) for id_ in ids], "window": list(window)}
    rows = connection.execute(text, values).fetchall() if ids else []
    found = [
        (id_.int, user, scaled(amount), scaled(before), scaled(elsewhere))
        for id_, user, amount, before, elsewhere in rows
    ]
    schema = ROWS | dict.fromkeys(("drawn", "before", "elsewhere"), pl.Int128)
    return pl.DataFrame(found, schema=schema, orient="row")
