"""One night on tables of different age: the run for 6 July, where all months before are closed and many.

Whatever the age, the run covers six days. All of the history has been through usage-jobs, so that its own tables are
as old as the usage; usage_daily has what ``usage-jobs check`` asks for, an index on (date), and room on the pages of
the night's rows.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import median

import psycopg

from bench import same
from bench.contenders import CASES, Contender, job
from bench.databases import Databases
from bench.sizes import Size
from bench.state import show
from bench.table import Line
from jobs.store.speed import HALF

NIGHT = date(2026, 7, 6)
OPEN = NIGHT.replace(day=1)
AS_CHECK_ASKS = (
    "CREATE INDEX ON usage_daily (date)",
    f"ALTER TABLE usage_daily SET (fillfactor = {HALF})",
    f"CREATE TEMP TABLE night ON COMMIT DROP AS SELECT * FROM usage_daily WHERE date = '{NIGHT}'",
    f"DELETE FROM usage_daily WHERE date = '{NIGHT}'",  # and in again, as they would have come since
    "INSERT INTO usage_daily SELECT * FROM night",
)
COSTS = {
    section: query.replace(" ORDER BY", f" WHERE {column} >= '{OPEN}' ORDER BY")
    for section, query in same.COSTS.items()
    for column in ["month" if section == "months" else "date"]
}


def night(
    databases: Databases, users: int, history: Sequence[int], contenders: Sequence[Contender], repeat: int, folder: Path
) -> None:
    """Prints the night's table, a line for each of ``history``, in days before the open month."""
    if not any(one.letter in CASES["night"] for one in contenders):
        return
    sizes = {days: Size(users, days + NIGHT.day, NIGHT) for days in history}
    lines = {days: Line(f"a. usage-jobs, {days} days before", users * NIGHT.day) for days in history}
    lived = {days: _lived(databases, size, folder) for days, size in sizes.items()}
    costs: list[same.Digests] = []
    for _ in range(repeat):
        for days, size in sizes.items():
            url = databases.copy("at_work", lived[days])
            done = job(url, size, folder, "run", "--date", str(NIGHT))
            lines[days].add(done.seconds, done.mib)
            costs.append(same.of_database(url, "rollup", COSTS, folder / f"night-{days}"))
            same.hold(f"{days} days", costs[-1], folder / f"night-{days}", costs[0], folder / f"night-{history[0]}")
    middles = [median(line.seconds) for line in lines.values()]
    note = f"{history[-1]} days of history to {history[0]}: × {middles[-1] / middles[0]:.2f}"
    show(f"the night of {NIGHT}: {users:,} users", list(lines.values()), note)


def _lived(databases: Databases, size: Size, folder: Path) -> str:
    """The name of a database on which usage-jobs has covered everything up to the day before the night, made if it is
    not there."""
    usage = databases.of(size)

    def live(fresh: str) -> None:
        url = databases.copy(fresh, usage)
        job(url, size, folder, "run", "--date", str(NIGHT.replace(day=NIGHT.day - 1)))
        with psycopg.connect(url) as connection:
            for statement in AS_CHECK_ASKS:
                connection.execute(statement.encode())
        databases.settle(fresh)

    return databases.once(f"lived_{usage}", live)
