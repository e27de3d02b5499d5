"""Writes usage_daily.total_cost (cost = "rated"), only where the row is still the one that was read."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

import polars as pl
from psycopg import sql

from jobs.settings import Settings
from jobs.store.database import Connection
from jobs.store.statements import source, statement
from jobs.store.tables import copy_in


def write(connection: Connection, settings: Settings, costs: pl.DataFrame) -> set[int]:
    """Writes ``target`` (units of 10^-10) to the rows ``id`` whose xmin is ``version``; the ids written.

    Inside the caller's transaction. In: id UInt128, version Int64, target Int128.
    """
    if costs.is_empty():
        return set()
    stage = sql.Identifier("usage_jobs_costs")
    connection.execute(sql.SQL("DROP TABLE IF EXISTS pg_temp.{}").format(stage))
    connection.execute(statement("stage_costs"))
    copy_in(connection, stage, costs.select("id", "version", "target"))
    written = connection.execute(statement("write_costs", usage=source(settings, "usage_daily"))).fetchall()
    return {int(row[0].replace("-", ""), 16) for row in written}


def owners(connection: Connection, settings: Settings, ids: Sequence[int]) -> set[str]:
    """Whose the rows ``ids`` are now."""
    text = statement("owners", usage=source(settings, "usage_daily"))
    found = connection.execute(text, {"ids": [UUID(int=id_) for id_ in ids]}).fetchall()
    return {str(row[0]) for row in found}


def lock(connection: Connection, settings: Settings, users: Sequence[str], first: date, last: date) -> None:
    """Locks the rows of some users from ``first`` to ``last`` until the transaction ends."""
    text = statement("lock_users", usage=source(settings, "usage_daily"))
    connection.execute(text, {"users": list(users), "first": first, "last": last})
