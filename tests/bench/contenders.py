"""The contenders, each a program that is started and timed as a whole, the interpreter's start included."""

import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.sizes import Size
from bench.timing import Ran, ran

HERE = Path(__file__).parent
CASES: Mapping[str, Sequence[str]] = {
    "first": ("a", "b", "d", "f"),
    "unchanged": ("a", "b", "c", "c2", "e", "f"),
    "late": ("a", "b"),
    "night": ("a",),
    "backfill": ("a",),
}
"""Who takes part in what: c and e do not write, d does nothing but draw."""


@dataclass(frozen=True, slots=True)
class Contender:
    """``program``: a module beside this one and its first words, none for usage-jobs itself; ``schema``: where it keeps
    its results, "" for who keeps none; ``needs``: modules that may not be installed; ``connections``: of the floor."""

    letter: str
    title: str
    program: tuple[str, ...] = ()
    schema: str = ""
    needs: tuple[str, ...] = ()
    connections: int = 0

    @property
    def missing(self) -> list[str]:
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    def run(self, url: str, size: Size, folder: Path, *more: str | Path, rates: Path | None = None) -> Ran:
        """Once over all days of a size, or what ``more`` says of it."""
        if not self.program:
            return job(url, size, folder, "run", "--date", str(size.last), rates=rates)
        return self.call(url, folder, "--first", str(size.first), "--last", str(size.last), *more, rates=rates)

    def call(self, url: str, folder: Path, *words: str | Path, rates: Path | None = None) -> Ran:
        """The program with other words than those of a size."""
        program, *own = self.program
        env = {"PYTHONPATH": str(HERE.parent)} | _priced_by(rates)
        return ran([sys.executable, "-m", f"bench.{program}", url, *own, *words], env, folder)


def job(url: str, size: Size, folder: Path, *words: str, rates: Path | None = None) -> Ran:
    """A command of usage-jobs on usage that begins with the first day of ``size``."""
    env = {"DATABASE_URL": url, "USAGE_JOBS_START": size.start, "USAGE_JOBS_COST": "rated"} | _priced_by(rates)
    return ran([Path(sys.executable).with_name("usage-jobs"), *words, "--json"], env, folder)


def _priced_by(rates: Path | None) -> dict[str, str]:
    return {} if rates is None else {"USAGE_JOBS_RATES": str(rates)}


def contenders(connections: Iterable[int]) -> list[Contender]:
    """All of them, in the order of their letters; the floor once for each number of connections."""
    pandas, duckdb = ("pandas", "sqlalchemy"), ("duckdb", "duckdb_extension_postgres_scanner")
    return [
        Contender("a", "usage-jobs", schema="rollup"),
        Contender("b", "one SQL script", ("script",), schema="peer"),
        Contender("c", "pandas + SQLAlchemy", ("pandas_peer",), needs=pandas),
        Contender("c2", "pandas, COPY into read_csv", ("pandas_peer", "--copy"), needs=pandas),
        Contender("d", "one function call per drawn row", ("calls",)),
        Contender("e", "DuckDB, postgres extension", ("duck",), needs=duckdb),
        *(
            Contender("f", _floor(count), ("floor", "--connections", str(count)), connections=count)
            for count in connections
        ),
    ]


def _floor(connections: int) -> str:
    return f"floor: raw COPY, {connections} connection{'s' if connections > 1 else ''}"
