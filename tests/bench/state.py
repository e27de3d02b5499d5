"""What all cases share: the databases, the contenders, and the state that a first run leaves, which all start from."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Concatenate, ParamSpec

import psycopg

from bench import same
from bench.contenders import CASES, HERE, Contender, job
from bench.databases import Databases
from bench.proxy import counting
from bench.sizes import Size
from bench.table import Line, table
from bench.targets import verdicts
from bench.timing import Ran

P = ParamSpec("P")


@dataclass
class Bench:
    """One benchmark.

    - ``size``: of the usage
    - ``repeat``: timed passes of each case; ``wire``: whether one more comes before them, whose bytes are counted
    - ``calls``: rows of the sample that is drawn call by call
    - ``folder``: of the files
    - ``lines``: what has been measured, by case and key of the contender
    """

    databases: Databases
    size: Size
    contenders: Sequence[Contender]
    repeat: int
    wire: bool
    calls: int
    folder: Path
    lines: dict[str, Line] = field(default_factory=dict)

    def of(self, case: str) -> list[tuple[Contender, Line]]:
        """The contenders of a case, each with its line of the table."""
        chosen = [one for one in self.contenders if one.letter in CASES[case]]
        return [(one, self.line(case, one.key, f"{one.letter}. {one.title}", self.size.rows)) for one in chosen]

    def line(self, case: str, key: str, title: str, rows: int) -> Line:
        """A new line, known by its case and key from now on."""
        return self.lines.setdefault(f"{case} {key}", Line(title, rows))

    @property
    def passes(self) -> list[bool]:
        """The passes of a case in their order: is it a timed one?"""
        return [False] * self.wire + [True] * self.repeat

    @cached_property
    def usage(self) -> str:
        """The database that nothing has run on."""
        return self.databases.of(self.size)

    @property
    def finished(self) -> str:
        """The database that a first run has left, once there is the reference."""
        return f"finished_{self.size.database}"

    @cached_property
    def reference(self) -> same.Digests:
        """What usage-jobs comes to. Makes the database ``finished``, the script's tables filled as well."""
        url = self.databases.copy(self.finished, self.usage)
        job(url, self.size, self.folder, "run", "--date", str(self.size.last))
        seed_script(url)
        self.databases.vacuum(self.finished)
        return same.of_database(url, "rollup", same.EVERY, self.folder / "reference")

    def after(self, name: str) -> str:
        """The URL of a fresh copy of what a first run leaves."""
        assert self.reference
        return self.databases.copy(name, self.finished)

    def check(self, contender: Contender, url: str) -> None:
        """SystemExit where a contender has left other cents in the database than usage-jobs."""
        found = same.of_database(url, contender.schema, same.EVERY, self.folder / "found")
        same.check(contender.title, found, self.folder / "found", self.reference, self.folder / "reference")

    def check_computed(self, contender: Contender, url: str) -> None:
        """The same for who writes nothing: run once more, and asked for its results."""
        contender.run(url, self.size, self.folder, "--out", self.folder / "found")
        found = same.of_files(self.folder / "found", same.COMPUTED)
        same.check(contender.title, found, self.folder / "found", self.reference, self.folder / "reference")

    def show(self, case: str, title: str, lines: Sequence[Line], *notes: str) -> None:
        """Prints the table of a case, notes, and how it meets its targets."""
        print(f"\n### {title}\n\n{table(lines)}\n")
        for note in notes:
            print(f"{note}\n")
        for verdict in verdicts(case, self.lines):
            print(f"- {verdict}")
        print(flush=True)


def measure(
    line: Line, timed: bool, run: Callable[Concatenate[str, P], Ran], url: str, *args: P.args, **words: P.kwargs
) -> Ran:
    """``run(url, …)``: straight to the server where it is timed, else by way of a proxy that counts the bytes."""
    if timed:
        done = run(url, *args, **words)
        line.add(done.seconds, done.mib)
        return done
    with counting(url) as traffic:
        done = run(traffic.url, *args, **words)
    line.to_client, line.to_server = traffic.to_client, traffic.to_server
    return done


def changed(done: Ran) -> int:
    """How many rows a contender says that it has written."""
    summary: Mapping[str, int] = json.loads(done.out.splitlines()[-1])
    return summary["rows_changed"]


def seed_script(url: str) -> None:
    """Fills the script's tables with what usage-jobs has written."""
    with psycopg.connect(url) as connection:
        connection.execute((HERE / "peer_seed.sql").read_bytes())
