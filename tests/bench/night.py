"""One night on tables of different age: the run for 6 July, where all months before are closed and many.

Whatever the age, the run covers six days. All of the history has been through usage-jobs, so that its own tables (and
the script's) are as old as the usage; usage_daily has what ``usage-jobs check`` asks for, an index on (date), and room
on the pages of the night's rows.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import psycopg

from bench import same
from bench.contenders import CASES, Contender, job
from bench.databases import Databases
from bench.sizes import Size
from bench.state import Bench, measure, seed_script
from bench.table import Line

NIGHT = date(2026, 7, 6)
OPEN = NIGHT.replace(day=1)
FILLFACTOR = 50
"""Per cent of a page for rows as they come, as ``usage-jobs check`` asks for; the rest is for what a run writes."""
AS_CHECK_ASKS = (
    "CREATE INDEX ON usage_daily (date)",
    f"ALTER TABLE usage_daily SET (fillfactor = {FILLFACTOR})",
    f"CREATE TEMP TABLE night ON COMMIT DROP AS SELECT * FROM usage_daily WHERE date = '{NIGHT}'",
    f"DELETE FROM usage_daily WHERE date = '{NIGHT}'",  # and in again, as they would have come since
    "INSERT INTO usage_daily SELECT * FROM night",
)


def night(bench: Bench, users: int, histories: Sequence[int]) -> None:
    """Prints the night's table, a line for each contender and each of ``histories``, in days before the open month."""
    chosen = [one for one in bench.contenders if one.letter in CASES["night"]]
    if not chosen:
        return
    sizes = {days: Size(users, days + NIGHT.day, NIGHT) for days in histories}
    covered = {days: _covered(bench.databases, size, bench.folder) for days, size in sizes.items()}
    lines = {(days, one.letter): _line(bench, one, days, histories, users) for one in chosen for days in histories}
    costs: dict[int, same.Digests] = {}
    for timed in bench.passes:
        for days, size in sizes.items():
            found: dict[str, same.Digests] = {}
            for one in chosen:
                url = bench.databases.copy("at_work", covered[days])
                span = size if one.letter == "a" else Size(users, NIGHT.day, NIGHT)
                measure(lines[days, one.letter], timed, one.run, url, span, bench.folder)
                folder = bench.folder / f"night-{one.letter}"
                found[one.letter] = same.of_database(url, one.schema, same.EVERY, folder, OPEN)
                if one.letter == "a":
                    costs[days] = same.of_database(url, "rollup", same.COSTS, bench.folder / f"night-{days}", OPEN)
            if len(found) == 2:
                same.check("one SQL script", found["b"], bench.folder / "night-b", found["a"], bench.folder / "night-a")
    for days, digests in costs.items():
        reference = histories[0]
        same.check(
            f"{days} days",
            digests,
            bench.folder / f"night-{days}",
            costs[reference],
            bench.folder / f"night-{reference}",
        )
    bench.show("night", f"the night of {NIGHT}: {users:,} users", list(lines.values()))


def _line(bench: Bench, one: Contender, days: int, histories: Sequence[int], users: int) -> Line:
    """The shortest history bears the contender's letter alone, the longest is the old one."""
    suffix = {max(histories): "-old", min(histories): ""}.get(days, f"-{days}")
    return bench.line("night", one.letter + suffix, f"{one.letter}. {one.title}, {days} days before", users * NIGHT.day)


def _covered(databases: Databases, size: Size, folder: Path) -> str:
    """The name of a database on which usage-jobs has covered everything up to the day before the night, made if it is
    not there."""
    usage = databases.of(size)

    def cover(fresh: str) -> None:
        url = databases.copy(fresh, usage)
        job(url, size, folder, "run", "--date", str(NIGHT.replace(day=NIGHT.day - 1)))
        seed_script(url)
        with psycopg.connect(url) as connection:
            for statement in AS_CHECK_ASKS:
                connection.execute(statement.encode())
        databases.vacuum(fresh)

    return databases.once(f"covered_{usage}", cover)
