"""How long a buyer waits for his account while usage-jobs is at work: in a first run, and in a night."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from time import perf_counter

import psycopg

from bench.contenders import job
from bench.state import Bench

PURCHASES_A_SECOND = 20
PURCHASE = "UPDATE user_credits SET total_purchased = total_purchased + 1 WHERE user_id = %s"
DAY_BEFORE = "day_before"


@dataclass(slots=True)
class Waits:
    """Seconds that each purchase took, and each run beside which they were made; ``most``: the target for one."""

    title: str
    most: float
    purchases: list[float] = field(default_factory=list)
    runs: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        """A line of the table."""
        waits = sorted(self.purchases)
        p99, longest = waits[len(waits) * 99 // 100], waits[-1]
        run = f"{min(self.runs):.1f}-{max(self.runs):.1f}"
        return f"| {self.title} | {run} | {len(waits):,} | {p99:.3f} | {longest:.3f} | {self.most:g} |"


def buyer(bench: Bench) -> None:
    """Prints the waits in first runs over all days, and in nights: runs of the last day after all others."""
    if not bench.of("buyer"):
        return
    first, night = Waits("first run", 2), Waits("one night", 1)
    before = _day_before(bench)
    for _ in range(bench.repeat):
        _run(bench, bench.usage, first)
        _run(bench, before, night)
    print(f"\n### a buyer beside usage-jobs: {bench.size.rows:,} rows\n")
    print("| run | seconds of it | purchases | p99 s | longest s | target s |\n|---|--:|--:|--:|--:|--:|")
    print(first, night, sep="\n", end="\n\n", flush=True)


def _day_before(bench: Bench) -> str:
    """The name of a database that usage-jobs has covered up to the day before the last."""
    url = bench.databases.copy(DAY_BEFORE, bench.usage)
    job(url, bench.size, bench.folder, "run", "--date", str(bench.size.last - timedelta(days=1)))
    bench.databases.vacuum(DAY_BEFORE)
    return DAY_BEFORE


def _run(bench: Bench, template: str, waits: Waits) -> None:
    url = bench.databases.copy("at_work", template)
    with _buying(url, waits.purchases):
        done = job(url, bench.size, bench.folder, "run", "--date", str(bench.size.last))
    waits.runs.append(done.seconds)


@contextmanager
def _buying(url: str, waits: list[float]) -> Iterator[None]:
    """Buys for users taken at random until the block ends; an error of the buyer's, a deadlock say, is raised then."""
    over = Event()
    with ThreadPoolExecutor(1) as pool:
        buying = pool.submit(_buy, url, waits, over)
        try:
            yield
        finally:
            over.set()
        buying.result()


def _buy(url: str, waits: list[float], over: Event) -> None:
    """One connection; purchases that fall due while one waits are made right after it."""
    chance = random.Random(18)
    with psycopg.connect(url, autocommit=True) as connection:
        users = [user for (user,) in connection.execute("SELECT user_id FROM user_credits ORDER BY user_id")]
        due = perf_counter()
        while not over.wait(max(0.0, due - perf_counter())):
            started = perf_counter()
            connection.execute(PURCHASE, [chance.choice(users)])
            waits.append(perf_counter() - started)
            due += 1 / PURCHASES_A_SECOND
