"""The benchmark: usage-jobs and its peers on the same usage, checked to come to the same cents.

    python tests/bench --size M [--case first --case unchanged] [--contender a --contender b] [--repeat 3]

It makes the data, restores the same state before each contender, runs them in turn, and prints medians as Markdown, and
under each table how they meet the targets. One more pass, which is not timed, leads each contender through a proxy that
counts its bytes (--no-wire: none).
Exit code 1: a contender came to other results than usage-jobs; who and where is named.

sizes: S 10,000 users × 30 days, M 100,000 × 30, L 1,000,000 × 30, Y 10,000 × 365; --users and --days change one.
cases: first (all writes), unchanged (the same again), late (one row has changed); only where named: night (6 July on
    histories of 30 and of 300 days, 100,000 users), backfill (the year Y), buyer (how long a purchase waits while
    usage-jobs is at work).
contenders: a usage-jobs, b one SQL script, d one function call per credit draw, from a sample, e DuckDB with its
    postgres extension, f the floor: the raw bytes; only where named: c pandas + SQLAlchemy, c2 its own reading by COPY.
    Those whose modules are not installed are left out: pip install pandas sqlalchemy duckdb-extension-postgres-scanner
    (which names its duckdb).
--workdir DIR keeps the server, the usage, and what is covered up to the night, for the next time.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

sys.path.pop(0)  # this folder, whose files are modules of the package bench
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.arguments import plain
from bench.backfill import backfill
from bench.buyer import buyer
from bench.cases import first, late, unchanged
from bench.contenders import CASES, DEFAULT, Contender, contenders
from bench.databases import serving
from bench.night import night
from bench.sizes import SIZES
from bench.state import Bench
from bench.table import machine


def main() -> None:
    given = _arguments()
    chosen = list(_present(contenders(given.connections), given.contender or DEFAULT))
    with ExitStack() as stack:
        folder = given.workdir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        folder.mkdir(parents=True, exist_ok=True)
        folder = folder.resolve()
        folder.chmod(0o755)  # started by root, the server runs as somebody else, who must pass
        databases = stack.enter_context(serving(folder))
        print(machine(databases.version()))
        print("Peak memory is that of the program; what the server holds for it is not counted.", flush=True)
        size = SIZES[given.size]
        size = replace(size, users=given.users or size.users, days=given.days or size.days)
        year = replace(SIZES["Y"], users=given.users or SIZES["Y"].users, days=given.days or SIZES["Y"].days)
        shared = Bench(databases, size, chosen, given.repeat, given.wire, given.calls, folder)
        for case in given.case or ("first", "unchanged", "late"):
            if case == "night":
                night(shared, given.users or 100_000, given.history)
            elif case == "backfill":
                backfill(replace(shared, size=year))
            else:
                {"first": first, "unchanged": unchanged, "late": late, "buyer": buyer}[case](shared)


def _arguments() -> argparse.Namespace:
    words = plain(__doc__ or "", "python tests/bench")
    words.add_argument("--size", choices=SIZES, default="S")
    words.add_argument("--case", action="append", choices=CASES)
    words.add_argument("--contender", action="append", choices=dict.fromkeys(one.letter for one in contenders([1])))
    words.add_argument("--repeat", type=int, default=3)
    words.add_argument(
        "--wire", action=argparse.BooleanOptionalAction, default=True, help="count bytes, in a pass more"
    )
    words.add_argument("--users", type=int)
    words.add_argument("--days", type=int)
    words.add_argument("--workdir", type=Path)
    words.add_argument("--connections", type=int, nargs="+", default=[2], help="of the floor; several: once with each")
    words.add_argument("--calls", type=int, default=10_000, help="rows of the sample that is drawn call by call")
    words.add_argument("--history", type=int, nargs="+", default=[30, 300], help="days before the month of the night")
    return words.parse_args()


def _present(known: Sequence[Contender], letters: Sequence[str]) -> list[Contender]:
    """Those that were asked for and can run; a line about each that cannot."""
    wanted = [one for one in known if one.letter in letters]
    for one in wanted:
        if one.missing:
            print(f"{one.letter}. {one.title}: left out, {' and '.join(one.missing)} not installed here", flush=True)
    return [one for one in wanted if not one.missing]


if __name__ == "__main__":
    main()
