"""Users who ran out of credit: those with prepaid usage that no credit covers."""

from pathlib import Path
from typing import TYPE_CHECKING

from jobs.domain.fixed_point import scaled
from jobs.pipeline.output_files import replace_private
from jobs.pipeline.run_totals import Totals
from jobs.postgres import month_figures
from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope

if TYPE_CHECKING:
    import polars as pl


def compute_ran_out(connection: Connection, scope: RunScope, totals: Totals) -> "pl.DataFrame":
    """Returns user_id, month and uncovered (units of 10^-10), in a dry run with the changes of its batches."""
    import polars as pl

    schema = {"user_id": pl.String, "month": pl.Date, "uncovered": pl.Int128}
    stored = [
        (user, month, scaled(amount))
        for user, month, amount in month_figures.read_ran_out(connection, scope, scope.window.months)
    ]
    rows = pl.DataFrame(stored, schema=schema, orient="row")
    for target, before in totals.month_frames:
        rows = rows.join(before.select("user_id", "month"), on=["user_id", "month"], how="anti")
        uncovered = target.filter(pl.col("uncovered") > 0)
        rows = pl.concat([rows, uncovered.select(pl.col(name).cast(kind) for name, kind in schema.items())])
    return rows


def write_ran_out(connection: Connection, scope: RunScope, totals: Totals, file: Path) -> None:
    """Writes the users who ran out to ``file`` (CSV). The run is done, so a file error becomes a note of ``totals``."""
    from jobs.domain.schemas import in_decimals

    rows = compute_ran_out(connection, scope, totals)
    text = rows.sort("user_id", "month").with_columns(in_decimals("uncovered")).write_csv()
    try:
        replace_private(file, text.encode())
    except OSError as error:
        totals.notes.append(f"--ran-out {file} could not be written: {error.strerror}")
