"""Writes to usage_daily: total_cost (cost = "rated") and credits_deducted, only where a row is still what was read."""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import date
from uuid import UUID

import polars as pl
from psycopg import sql

from jobs.settings import Settings
from jobs.store.database import Connection, by_index
from jobs.store.faults import writing
from jobs.store.statements import own, source, statement
from jobs.store.tables import copy_in
from jobs.store.unpacked import as_numbers


def write(connection: Connection, settings: Settings, rows: pl.DataFrame) -> pl.Series:
    """Writes the rows ``id`` whose xmin is ``version``; the ids written (UInt128). Inside the caller's transaction.

    In: id UInt128, version Int64, target Int128 (their total_cost in units of 10^-10, null where that is not ours),
    drawn Boolean (credits_deducted becomes what the ledger says), shown Int128 (which is this; null: ask it).
    """
    if rows.is_empty():
        return pl.Series("id", [], dtype=pl.UInt128)
    stage = sql.Identifier("usage_jobs_rows")
    connection.execute(sql.SQL("DROP TABLE IF EXISTS pg_temp.{}").format(stage))
    connection.execute(statement("stage_rows"))
    copy_in(connection, stage, rows.select("id", "version", "target", "drawn", "shown"))
    assignments: list[sql.Composable] = []
    # A column that no row needs is not named: the role may lack the privilege.
    if rows["target"].count():
        assignments.append(sql.SQL("total_cost = coalesce(s.target, u.total_cost)"))
    if rows["drawn"].any():
        assignments.append(statement("set_credits", draws=own(settings, "credit_draws")))
    usage = source(settings, "usage_daily")
    has_key = connection.execute(statement("has_key", quoted=sql.Literal(usage.as_string(None)))).fetchone()
    text = statement("write_rows", usage=usage, assignments=sql.SQL(", ").join(assignments))
    with writing("usage_daily"), by_index(connection) if has_key == (True,) else nullcontext():
        row = connection.execute(text, binary=True).fetchone()
    count, written = row if row is not None else (0, None)
    return as_numbers("id", written or b"", count)


def owners(connection: Connection, settings: Settings, ids: Sequence[int]) -> set[str]:
    """Whose the rows ``ids`` are now."""
    text = statement("owners", usage=source(settings, "usage_daily"))
    found = connection.execute(text, {"ids": [UUID(int=id_) for id_ in ids]}).fetchall()
    return {str(row[0]) for row in found}


def lock(connection: Connection, settings: Settings, users: Sequence[str], first: date, last: date) -> None:
    """Locks the rows of some users from ``first`` to ``last`` until the transaction ends."""
    text = statement("lock_users", usage=source(settings, "usage_daily"))
    connection.execute(text, {"users": list(users), "first": first, "last": last})
