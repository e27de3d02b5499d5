"""A year's backfill: of months that are what they were, and of months with a new price."""

import csv
from decimal import Decimal
from pathlib import Path

from bench import same
from bench.contenders import contenders, job
from bench.prices import RATES
from bench.state import Bench, changed, measure
from bench.timing import Ran

CLOSED = "all_closed"


def backfill(bench: Bench) -> None:
    """Prints the table of a year whose months are all closed."""
    for contender, line in bench.of("backfill"):
        _closed(bench)
        line.title += ", nothing has changed"
        dearer = bench.line("backfill", "a-dearer", f"{contender.letter}. {contender.title}, a new price", line.rows)
        rates = _dearer(bench.folder / "rates.csv")
        for number, timed in enumerate(bench.passes):
            url = bench.databases.copy("at_work", CLOSED)
            done = measure(line, timed, _fill, url, bench)
            if count := changed(done):
                raise SystemExit(f"{contender.title}: a backfill wrote {count} rows where nothing has changed")
            bench.check(contender, url)
            url = bench.databases.copy("at_work", CLOSED)
            measure(dearer, timed, _fill, url, bench, rates)
            if not number:
                _check_dearer(bench, url, rates)
        bench.show(
            "backfill", f"backfill of {bench.size.first} to {bench.size.last}: {line.rows:,} rows", [line, dearer]
        )


def _closed(bench: Bench) -> None:
    """The first run has left the last month open; a first backfill covers all up to yesterday, and so closes it."""
    _fill(bench.after(CLOSED), bench)
    bench.databases.vacuum(CLOSED)


def _fill(url: str, bench: Bench, rates: Path = RATES) -> Ran:
    days = ("--from", str(bench.size.first), "--to", str(bench.size.last))
    return job(url, bench.size, bench.folder, "backfill", *days, "--reason", "bench", "--yes", rates=rates)


def _dearer(file: Path) -> Path:
    """The rate card with CPU hours a tenth dearer, as if it had always been so."""
    with RATES.open(newline="") as text:
        lines = list(csv.DictReader(text))
    for line in lines:
        if line["meter"] == "cpu_hours":
            line["price"] = str(Decimal(line["price"]) * Decimal("1.1"))
    with file.open("w", newline="") as text:
        writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return file


def _check_dearer(bench: Bench, url: str, rates: Path) -> None:
    """Costs must be those of a script that never knew the old price; draws, which depend on those made by it, must
    keep the invariants."""
    script = next(one for one in contenders(()) if one.letter == "b")
    peer = bench.databases.copy("of_script", bench.usage)
    script.run(peer, bench.size, bench.folder, rates=rates)
    found = same.of_database(peer, "peer", same.COSTS, bench.folder / "found")
    expected = same.of_database(url, "rollup", same.COSTS, bench.folder / "dearer")
    same.check("one SQL script", found, bench.folder / "found", expected, bench.folder / "dearer")
    days = ("--from", str(bench.size.first), "--to", str(bench.size.last))
    job(url, bench.size, bench.folder, "reconcile", *days, rates=rates)  # fails where one is broken
