"""A first run with all its writes, the same run again, and the run after one row has come late."""

import json

import psycopg

from bench import same
from bench.contenders import Contender
from bench.payload import save
from bench.state import AFTER, EVERY, Bench, changed, show
from bench.table import Line


def first(bench: Bench) -> None:
    """Everything is new: every row is priced and written, every prepaid row drawn."""
    lines, notes = bench.of("first"), []
    assert bench.reference
    for number in range(bench.repeat):
        for contender, line in lines:
            url = bench.databases.copy("at_work", bench.usage)
            if contender.letter == "d":
                notes = [_called(bench, contender, line, url)]
            elif contender.schema:
                done = contender.run(url, bench.size, bench.folder)
                line.add(done.seconds, done.mib)
                bench.hold(contender, url)
            else:
                folder = bench.folder / f"payload-{contender.connections}"
                if not number:
                    save(bench.databases.named(AFTER), bench.size, contender.connections, folder)
                    bench.databases.calm()
                done = contender.run(url, bench.size, bench.folder, "--write", folder)
                line.add(done.seconds, done.mib)
    show(f"first run, all writes: {bench.size.rows:,} rows", [line for _, line in lines], *notes)


def _called(bench: Bench, contender: Contender, line: Line, url: str) -> str:
    words = ("--costs", bench.databases.named(AFTER), "--sample", str(bench.calls))
    done = contender.call(url, bench.folder, *words)
    told = json.loads(done.out)
    line.add(told["seconds"] / told["calls"] * told["drawn"], done.mib)
    line.rows = told["drawn"]
    return f"d. draws alone, scaled from {told['calls']:,} calls to the {told['drawn']:,} rows that are drawn."


def unchanged(bench: Bench) -> None:
    """Nothing is new: all is read and computed, and what writes compares it with what stands and writes nothing."""
    lines = bench.of("unchanged")
    for number in range(bench.repeat):
        for contender, line in lines:
            url = bench.after("at_work")
            done = contender.run(url, bench.size, bench.folder)
            line.add(done.seconds, done.mib)
            if contender.schema:
                if count := changed(done):
                    raise SystemExit(f"{contender.title}: wrote {count} rows where nothing has changed")
                bench.hold(contender, url)
            elif contender.letter != "f" and not number:
                bench.hold_computed(contender, url)
    show(f"unchanged re-run: {bench.size.rows:,} rows", [line for _, line in lines])


def late(bench: Bench) -> None:
    """One row of a prepaid user has an hour more than before: another row each time."""
    lines = bench.of("late")
    urls = {contender.letter: bench.after(f"late_{contender.letter}") for contender, _ in lines}
    for number in range(bench.repeat):
        found: dict[str, same.Digests] = {}
        for contender, line in lines:
            url = urls[contender.letter]
            _come_late(url, bench.size.users * (number + 1) // (bench.repeat + 1))
            bench.databases.calm()
            done = contender.run(url, bench.size, bench.folder)
            line.add(done.seconds, done.mib)
            if not changed(done):
                raise SystemExit(f"{contender.title}: wrote nothing although a row has changed")
            found[contender.letter] = same.of_database(url, contender.schema, EVERY, bench.folder / contender.letter)
        if len(found) == 2:
            same.hold("one SQL script", found["b"], bench.folder / "b", found["a"], bench.folder / "a")
    show(f"one late row: {bench.size.rows:,} rows", [line for _, line in lines])


def _come_late(url: str, user: int) -> None:
    """An hour more for the first prepaid user from the ``user``-th on, on a day in the middle."""
    text = (
        "UPDATE usage_daily SET cpu_hours = cpu_hours + 1 WHERE id = (SELECT d.id FROM usage_daily AS d "
        "JOIN users AS u ON u.id = d.user_id WHERE u.billing_mode = 'prepaid' AND d.date = (SELECT min(date) + "
        "(max(date) - min(date)) / 2 FROM usage_daily) AND substring(u.id FROM '[0-9]+$')::integer >= %s "
        "ORDER BY u.id LIMIT 1)"
    )
    with psycopg.connect(url) as connection:
        if connection.execute(text.encode(), [user]).rowcount != 1:
            raise SystemExit("no row of a prepaid user to change")
