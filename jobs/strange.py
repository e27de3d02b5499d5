"""Rows that show other draws than the window has booked, and what of the ledger a run decides about at all."""

import polars as pl

from jobs.model.frames import CODED, DRAWS
from jobs.plan import Plan
from jobs.store import ledger
from jobs.store.database import Connection

STRANGE: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.UInt128,
    "user_id": pl.Categorical,
    "date": pl.Date,
    "drawn": pl.Int128,
    "imported": pl.Boolean,
    "foreign": pl.Boolean,
}


def of_window(booked: pl.LazyFrame, rows: pl.DataFrame, plan: Plan) -> pl.LazyFrame:
    """The draws that the run decides about. On days that it does not cover another program may have drawn, which stays
    as it is until they are covered, unless the row has come to a day that is."""
    here = rows.lazy().select("id", pl.col("user_id").cast(pl.String))
    later = pl.col("date") > plan.window.last
    return pl.concat([booked.filter(~later), booked.filter(later).join(here, on=["id", "user_id"], how="semi")])


def strange_rows(connection: Connection, plan: Plan, rows: pl.DataFrame, booked: pl.LazyFrame) -> pl.DataFrame:
    """Rows whose credits_deducted is not what the window has booked on them, with what the whole ledger says.

    Out: id, user_id, date, drawn (by the present user in all months), imported, ``foreign`` (neither that, nor what
    another user or all of them have drawn on the row: some other program wrote it).
    """
    if not plan.query.read.credits.shown:
        return pl.DataFrame(schema=STRANGE)
    sums = booked.group_by("id", CODED).agg((pl.col("free") + pl.col("purchased")).sum().alias("booked"))
    read = pl.col("deducted").cast(pl.Int128)
    unlike = read.ne_missing(pl.col("booked").fill_null(0))
    shown = rows.lazy().select("id", "user_id", "date", "deducted")  # a join copies every column
    found = shown.join(sums, on=["id", "user_id"], how="left").filter(unlike).collect()
    known = ledger.known(connection, plan.settings, found["id"].to_list())
    anybody = known.group_by("id").agg("drawn", pl.col("drawn").sum().alias("whole"))
    mine = known.with_columns(CODED).rename({"drawn": "own"})
    marked = (
        found.join(mine, on=["id", "user_id"], how="left")
        .join(anybody, on="id", how="left")
        .with_columns(pl.col("own", "whole").fill_null(0), pl.col("imported").fill_null(value=False))
    )
    explained = (read == pl.col("own")) | (read == pl.col("whole")) | pl.col("drawn").list.contains(read)
    return marked.with_columns(foreign=~explained.fill_null(value=False), drawn=pl.col("own")).select(
        pl.col(name).cast(kind) for name, kind in STRANGE.items()
    )


def imports(strange: pl.DataFrame) -> pl.DataFrame:
    """Adopted rows, whatever month they have come from, as draws of nothing (frames.DRAWS): they still are prepaid."""
    adopted = strange.filter("imported").with_columns(revision=0, free=0, purchased=0)
    return adopted.select(pl.col(name).cast(kind) for name, kind in DRAWS.items())
