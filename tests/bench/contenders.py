"""The contenders, each a program that is started and timed as a whole, the interpreter's start included."""

import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.prices import RATES
from bench.sizes import Size
from bench.timing import Ran, ran

HERE = Path(__file__).parent
CASES: Mapping[str, Sequence[str]] = {
    "first": ("a", "b", "d", "f"),
    "unchanged": ("a", "b", "c", "c2", "e", "f"),
    "late": ("a", "b"),
    "night": ("a", "b"),
    "backfill": ("a",),
    "buyer": ("a",),
}
"""Who takes part in what: c and e do not write, d does nothing but draw."""
DEFAULT = ("a", "b", "d", "e", "f")
"""Those that a target is about."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A program beside usage-jobs, or usage-jobs itself.

    - ``program``: a module of this folder and its first words, none for usage-jobs
    - ``schema``: where it keeps its results, "" for who keeps none
    - ``needs``: modules that may not be installed
    - ``connections``: of the floor
    """

    letter: str
    title: str
    program: tuple[str, ...] = ()
    schema: str = ""
    needs: tuple[str, ...] = ()
    connections: int = 0

    @property
    def key(self) -> str:
        """What tells it from all others."""
        return f"{self.letter}{self.connections or ''}"

    @property
    def missing(self) -> list[str]:
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    def run(self, url: str, size: Size, folder: Path, *more: str | Path, rates: Path = RATES) -> Ran:
        """Once over all days of a size; ``more``: further words for its program."""
        if not self.program:
            return job(url, size, folder, "run", "--date", str(size.last), rates=rates)
        program, *own = self.program
        days = ("--first", str(size.first), "--last", str(size.last))
        env = {"PYTHONPATH": str(HERE.parent), "USAGE_JOBS_RATES": str(rates)}
        return ran([sys.executable, "-m", f"bench.{program}", url, *days, *own, *more], env, folder)


def job(url: str, size: Size, folder: Path, *words: str, rates: Path = RATES) -> Ran:
    """A command of usage-jobs on usage that begins with the first day of ``size``."""
    env = {
        "DATABASE_URL": url,
        "USAGE_JOBS_START": size.start,
        "USAGE_JOBS_COST": "rated",
        "USAGE_JOBS_RATES": str(rates),
    }
    return ran([Path(sys.executable).with_name("usage-jobs"), *words, "--json"], env, folder)


def contenders(connections: Iterable[int]) -> list[Contender]:
    """All of them, in the order of their letters; the floor once for each number of connections."""
    pandas, duckdb = ("pandas", "sqlalchemy"), ("duckdb", "duckdb_extension_postgres_scanner")
    return [
        Contender("a", "usage-jobs", schema="rollup"),
        Contender("b", "one SQL script", ("script",), schema="peer"),
        Contender("c", "pandas + SQLAlchemy", ("pandas_peer",), needs=pandas),
        Contender("c2", "pandas, COPY into read_csv", ("pandas_peer", "--copy"), needs=pandas),
        Contender("d", "one function call per credit draw", ("calls",)),
        Contender("e", "DuckDB, postgres extension", ("duck",), needs=duckdb),
        *(
            Contender("f", _floor(count), ("floor", "--connections", str(count)), connections=count)
            for count in connections
        ),
    ]


def _floor(connections: int) -> str:
    return f"floor: raw COPY, {connections} connection{'s' if connections > 1 else ''}"
