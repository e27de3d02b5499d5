"""What all cases share: the databases, the contenders, and the state that a first run leaves, which all start from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psycopg

from bench import same
from bench.contenders import CASES, Contender, job
from bench.databases import HERE, Databases
from bench.sizes import Size
from bench.table import Line, table
from bench.timing import Ran

AFTER = "after_first_run"
EVERY = same.COMPUTED | same.BOOKED


@dataclass
class Bench:
    """``size`` of the usage; ``calls``: rows of the sample that is drawn call by call; files go into ``folder``."""

    databases: Databases
    size: Size
    contenders: Sequence[Contender]
    repeat: int
    calls: int
    folder: Path

    def of(self, case: str) -> list[tuple[Contender, Line]]:
        """The contenders of a case, each with its line of the table."""
        rows = self.size.rows
        return [(one, Line(f"{one.letter}. {one.title}", rows)) for one in self.contenders if one.letter in CASES[case]]

    @cached_property
    def usage(self) -> str:
        """The database that nothing has run on."""
        return self.databases.of(self.size)

    @cached_property
    def reference(self) -> same.Digests:
        """What usage-jobs comes to. Makes the database AFTER: its first run, and the same in the script's tables."""
        url = self.databases.copy(AFTER, self.usage)
        job(url, self.size, self.folder, "run", "--date", str(self.size.last))
        with psycopg.connect(url) as connection:
            connection.execute((HERE / "peer_seed.sql").read_bytes())
        self.databases.settle(AFTER)
        return same.of_database(url, "rollup", EVERY, self.folder / "reference")

    def after(self, name: str) -> str:
        """The URL of a fresh copy of what a first run leaves."""
        assert self.reference
        return self.databases.copy(name, AFTER)

    def hold(self, contender: Contender, url: str) -> None:
        """SystemExit where a contender has left other cents in the database than usage-jobs."""
        found = same.of_database(url, contender.schema, EVERY, self.folder / "found")
        same.hold(contender.title, found, self.folder / "found", self.reference, self.folder / "reference")

    def hold_computed(self, contender: Contender, url: str) -> None:
        """The same for who writes nothing: run once more, and asked for its results."""
        contender.run(url, self.size, self.folder, "--out", self.folder / "found")
        found = same.of_files(self.folder / "found", same.COMPUTED)
        same.hold(contender.title, found, self.folder / "found", self.reference, self.folder / "reference")


def changed(done: Ran) -> int:
    """How many rows a contender says that it has written."""
    told: Mapping[str, int] = json.loads(done.out.splitlines()[-1])
    return told["rows_changed"]


def show(title: str, lines: Sequence[Line], *notes: str) -> None:
    print(f"\n### {title}\n\n{table(lines)}\n", flush=True)
    for note in notes:
        print(f"{note}\n", flush=True)
