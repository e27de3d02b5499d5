"""The end of a run: cluster tables, rejects, months and the run's own row, in one transaction.

Cluster figures need every chunk, so they come last; a run that dies before leaves the older ones standing.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import polars as pl

from jobs.agreed import END
from jobs.compute import rollup
from jobs.figures import with_left_out
from jobs.model.errors import LockedError
from jobs.model.scale import unscaled
from jobs.plan import Plan
from jobs.reading import Reading
from jobs.replacing import Replaced, replace
from jobs.store import clusters, rejects, runlog, tables
from jobs.store.database import Connection, transaction
from jobs.store.guard import pass_fence
from jobs.sums import Sums
from jobs.telling import told_end


def finish(connection: Connection, plan: Plan, run_id: int | None, reading: Reading, sums: Sums) -> None:
    """Writes what only the whole run knows, and marks the run done; a dry run learns what would be written.

    Raises MovedError where that is not what was agreed to.
    """
    # What was read anew under locks is known better than by the first read.
    bad = (reading.bad - sums.taken) | sums.refused
    with transaction(connection, undone=run_id is None):
        reading.rejects = rejects.read(connection, plan.query, [str(UUID(int=id_)) for id_ in sorted(bad)])
        if run_id is None:
            runlog.keep_modes(connection, plan.settings, plan.modes)
        elif runlog.status(connection, plan.settings, run_id) == "done":
            return  # the answer to an earlier COMMIT was lost, and this is another try: done is done
        else:
            pass_fence(connection, plan.settings, run_id)
        clustered = list(_clusters(connection, plan, run_id, sums))
        rejected = rejects.write(connection, plan.settings, reading.rejects, plan.window.spans())
        booked = runlog.book_months(connection, plan.settings, _figures(plan, run_id, sums))
        changed = {name: rows for part in clustered for name, rows in part.rows.items()}
        sums.last = {**changed, "rejects": len(rejected), "months": len(booked)}
        if plan.told:
            sums.told.add(END, pl.concat([*(part.told for part in clustered), told_end(rejected, booked)]))
        if run_id is not None:
            _mark_done(connection, plan, run_id, reading, sums)


def _mark_done(connection: Connection, plan: Plan, run_id: int, reading: Reading, sums: Sums) -> None:
    done = runlog.finish(
        connection,
        plan.settings,
        run_id,
        "done",
        rows_read=reading.read,
        rows_rejected=len(reading.rejects),
        rows_changed=sum(sums.all_changed.values()),
        total_cost=sums.total,
        # Null where there is nothing to draw from: a run that keeps no ledger leaves adoption to one that does.
        credits=None if plan.query.read.credits.account is None else sums.story().credits_deducted,
    )
    if not done:
        raise LockedError(f"run {run_id} is no longer marked running: another run has taken over and completes it")


def _figures(plan: Plan, run_id: int | None, sums: Sums) -> list[dict[str, Any]]:
    found = sums.by_month
    nothing = {"rows": 0, "usage_hash": 0, "total_cost": 0}
    return [
        {
            "month": month,
            "row_count": found.get(month, nothing)["rows"],
            "usage_hash": found.get(month, nothing)["usage_hash"] % 2**63,
            "rates_hash": plan.rates_hash(month),
            "total_cost": unscaled(found.get(month, nothing)["total_cost"]),
            "closes": month in plan.window.closing,
            "run_id": run_id,
        }
        for month in plan.window.months
    ]


def _clusters(connection: Connection, plan: Plan, run_id: int | None, sums: Sums) -> Iterator[Replaced]:
    days = rollup.added(pl.concat(sums.days.values()).lazy(), ["date", "cluster_id"])
    actives = rollup.added(pl.concat(sums.actives.values()).lazy(), ["month", "cluster_id"])
    names = clusters.names(connection, plan.settings, plan.query.read)
    whole_days = days.collect()
    targets = {
        "cluster_daily": whole_days.lazy(),
        "cluster_monthly": rollup.cluster_months(whole_days.lazy(), actives, plan.meters),
    }
    for name, target in targets.items():
        of = tables.table(plan.settings, name)
        held = pl.concat(tables.standing(connection, plan.settings, of, plan.window.months))
        complete = with_left_out(target, plan).join(names.lazy(), on="cluster_id", how="left").collect()
        yield replace(connection, plan, run_id, name, complete, held.lazy())
