"""``rollup.corrections``: every change to a closed month, with its cause; the database refuses to change one."""

import polars as pl

from jobs.model.scale import scaled
from jobs.settings import Settings
from jobs.store import tables
from jobs.store.database import Connection
from jobs.store.faults import writing
from jobs.store.statements import own, statement

SINCE = {"month": pl.Date, "user_id": pl.String, "since_free": pl.Int128, "since_purchased": pl.Int128}


def drawn_since(connection: Connection, settings: Settings, keys: pl.DataFrame, run_id: int | None) -> pl.DataFrame:
    """What runs before ``run_id`` have drawn of each user since their user-month was written last (SINCE).

    In: month, user_id; those without a row in user_monthly have none here.
    """
    text = statement("drawn_since", user_monthly=own(settings, "user_monthly"), draws=own(settings, "credit_draws"))
    values = {"months": keys["month"].to_list(), "users": keys["user_id"].to_list(), "run_id": run_id}
    found = connection.execute(text, values).fetchall() if keys.height else []
    rows = [(month, user, scaled(free), scaled(bought)) for month, user, free, bought in found]
    return pl.DataFrame(rows, schema=SINCE, orient="row")


def append(connection: Connection, settings: Settings, rows: pl.DataFrame, reason: str | None, run_id: int) -> None:
    """Adds ``rows`` (compute.causes) in the caller's transaction."""
    if rows.is_empty():
        return
    stage = tables.staged(connection, settings, tables.table(settings, "corrections"), rows)
    text = statement("append_corrections", corrections=own(settings, "corrections"), stage=stage)
    with writing(f"{settings.rollup_schema}.corrections"):
        connection.execute(text, {"reason": reason, "run_id": run_id})
