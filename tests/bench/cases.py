"""A first run with all its writes, the same run again, and the run after one row has come late."""

import json

import psycopg

from bench import same
from bench.contenders import Contender
from bench.payload import save
from bench.proxy import counting
from bench.state import Bench, changed, measure
from bench.table import Line


def first(bench: Bench) -> None:
    """Everything is new: every row is priced and written, every prepaid row drawn."""
    lines, notes = bench.of("first"), []
    assert bench.reference
    payloads = {one.connections: _payload(bench, one) for one, _ in lines if one.letter == "f"}
    for timed in bench.passes:
        for contender, line in lines:
            url = bench.databases.copy("at_work", bench.usage)
            if contender.letter == "d":
                notes = [_call(bench, contender, line, url, timed=timed)]
            elif contender.letter == "f":
                payload = payloads[contender.connections]
                measure(line, timed, contender.run, url, bench.size, bench.folder, *payload)
            else:
                measure(line, timed, contender.run, url, bench.size, bench.folder)
                bench.check(contender, url)
    bench.show("first", f"first run, all writes: {bench.size.rows:,} rows", [line for _, line in lines], *notes)


def _payload(bench: Bench, floor: Contender) -> tuple[str, str]:
    """The words that name what the floor is to write, saved now."""
    folder = bench.folder / f"payload-{floor.connections}"
    save(bench.databases.named(bench.finished), bench.size, floor.connections, folder)
    return "--write", str(folder)


def _call(bench: Bench, contender: Contender, line: Line, url: str, *, timed: bool) -> str:
    """Measures a sample of the calls, and scales it; a note about the scale."""
    words = ("--costs", bench.databases.named(bench.finished), "--sample", str(bench.calls))
    with counting(url) as traffic:
        through = () if timed else ("--through", traffic.url)
        done = contender.run(url, bench.size, bench.folder, *words, *through)
    sample = json.loads(done.out)
    scale = sample["draws"] / sample["calls"]
    line.rows = sample["draws"]
    if timed:
        line.add(sample["seconds"] * scale, done.mib)
    else:
        line.to_client, line.to_server = traffic.to_client * scale, traffic.to_server * scale
    return f"d. draws alone, scaled from {sample['calls']:,} calls to the {sample['draws']:,} rows with draws."


def unchanged(bench: Bench) -> None:
    """Nothing is new, and whoever writes must find that out."""
    lines = bench.of("unchanged")
    for number, timed in enumerate(bench.passes):
        for contender, line in lines:
            url = bench.after("at_work")
            done = measure(line, timed, contender.run, url, bench.size, bench.folder)
            if contender.schema:
                if count := changed(done):
                    raise SystemExit(f"{contender.title}: wrote {count} rows where nothing has changed")
                bench.check(contender, url)
            elif contender.letter != "f" and not number:
                bench.check_computed(contender, url)
    bench.show("unchanged", f"unchanged re-run: {bench.size.rows:,} rows", [line for _, line in lines])


def late(bench: Bench) -> None:
    """One row of a prepaid user has an hour more than before: another row each time."""
    lines = bench.of("late")
    urls = {contender.letter: bench.after(f"late_{contender.letter}") for contender, _ in lines}
    for number, timed in enumerate(bench.passes):
        found: dict[str, same.Digests] = {}
        for contender, line in lines:
            url = urls[contender.letter]
            _come_late(url, bench.size.users * (number + 1) // (len(bench.passes) + 1))
            bench.databases.calm()
            done = measure(line, timed, contender.run, url, bench.size, bench.folder)
            if not changed(done):
                raise SystemExit(f"{contender.title}: wrote nothing although a row has changed")
            folder = bench.folder / contender.letter
            found[contender.letter] = same.of_database(url, contender.schema, same.EVERY, folder)
        if len(found) == 2:
            same.check("one SQL script", found["b"], bench.folder / "b", found["a"], bench.folder / "a")
    bench.show("late", f"one late row: {bench.size.rows:,} rows", [line for _, line in lines])


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
