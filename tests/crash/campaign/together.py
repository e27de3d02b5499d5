"""cron, daemon, backfills, reconcile and the business itself at work on one database, all at the same time.

python tests/crash/campaign/together.py [--minutes 10]

Each program is a process of its own and begins again as soon as it has ended, while usage changes and credits are
bought. In the end no exit code may be outside the contract, no deadlock may have happened, every law must hold, and
every cost must be what one run over the same usage makes of it. Exit code 1: something is not so.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1] / "support"), *(str(folder) for folder in HERE.parents[1:3])]

import psycopg  # noqa: E402 - the path comes first
from commands import applied, ask  # noqa: E402
from field import DURABLE  # noqa: E402
from killing import cloned, command, named  # noqa: E402
from night import buy  # noqa: E402

from jobs.demo import sample  # noqa: E402
from jobs.demo.server import run_server  # noqa: E402

USERS, DAYS = 200, 90
SETTINGS = {"USAGE_JOBS_SCHEDULE__NIGHTLY": "* * * * *", "USAGE_JOBS_SCHEDULE__RECONCILE": "* * * * *"}
SETTINGS |= {"USAGE_JOBS_SCHEDULE__LISTEN": "", "USAGE_JOBS_BATCH_ROWS": "3000"}
CONTRACT = {
    "run": {0, 3, 4},
    "backfill": {0, 3, 4},
    "reconcile": {0},
    "watch": {0, 6},
    "schedule": {0, 143},
}
"""The exit codes that each may end with while the others are at work: 4, another has the lock; 6, a closed month has
changed upstream (which is what the business does here)."""
COSTS = (
    "SELECT month, user_id, days, cpu_hours, gpu_hours, storage_gb, total_cost FROM rollup.user_monthly",
    "SELECT date, cluster_id, users, cpu_hours, storage_gb, total_cost FROM rollup.cluster_daily",
    "SELECT month, cluster_id, active_users, max_users, total_cost, cost_per_user FROM rollup.cluster_monthly",
)


class Together:
    """What went on so far, on the database ``url``; ``last``: the last day of usage; ``over``: set when it is time."""

    def __init__(self, url: str, last: date) -> None:
        self.url, self.last = url, last
        self.first = last - timedelta(days=DAYS - 1)
        self.over = threading.Event()
        self.codes: Counter[str] = Counter()
        self.problems: list[str] = []
        self.bought: Counter[str] = Counter()

    def call(self, *words: str, url: str | None = None, expected: Collection[int] = ()) -> str:
        process = command(url or self.url, *words, **SETTINGS)
        said, _ = process.communicate()
        self.ended(process, words, said, expected or CONTRACT[words[0]])
        return said

    def ended(
        self, process: "subprocess.Popen[str]", words: tuple[str, ...], said: str, expected: Collection[int]
    ) -> None:
        self.codes[f"{words[0]} {process.returncode}"] += 1
        if process.returncode not in expected or "Traceback" in said:
            self.problems.append(f"{' '.join(words)}: exit {process.returncode}\n{said[-2000:]}")

    def cron(self) -> None:
        while not self.over.is_set():
            self.call("run")

    def backfills(self) -> None:
        rng = random.Random(1)
        while not self.over.is_set():
            first = self.first + timedelta(days=rng.randrange(DAYS))
            words = ("--from", str(first), "--to", str(min(self.last, first + timedelta(days=20))))
            self.call("backfill", *words, "--reason", "mended", "--yes")

    def proofs(self) -> None:
        while not self.over.is_set():
            self.call("reconcile")
            self.call("watch", "--all")

    def daemon(self) -> None:
        process = command(self.url, "schedule", **SETTINGS)

        def stop() -> None:
            self.over.wait()
            process.terminate()

        threading.Thread(target=stop).start()
        said, _ = process.communicate()
        self.ended(process, ("schedule",), said, CONTRACT["schedule"])
        self.codes["nights of the daemon"] += said.count('"event": "done"')

    def business(self) -> None:
        rng = random.Random(2)
        users = [str(row["user_id"]) for row in ask(self.url, "SELECT user_id FROM user_credits ORDER BY 1")]
        while not self.over.is_set():
            user, day = rng.choice(users), self.first + timedelta(days=rng.randrange(DAYS))
            text = "UPDATE usage_daily SET cpu_hours = cpu_hours + 0.37 WHERE user_id = %s AND date = %s"
            ask(self.url, text, user, day)
            buy(self.url, user, Decimal(1))
            self.bought[user] += 1
            self.codes["changes by others"] += 1
            self.over.wait(0.05)  # a rate: the others should find something to write, and time to


def balances(url: str) -> dict[str, tuple[Decimal, Decimal]]:
    """By user what was purchased, and what was used of both kinds."""
    text = "SELECT user_id, total_purchased AS bought, total_used + free_credits_used AS used FROM user_credits"
    return {row["user_id"]: (row["bought"], row["used"]) for row in ask(url, text)}


def judged(play: Together, before: Mapping[str, tuple[Decimal, Decimal]]) -> None:
    """Everything is at rest: one more pass, and then nothing may be wrong."""
    days = ("--from", str(play.first), "--to", str(play.last))
    play.call("backfill", *days, "--reason", "the last word", "--yes", expected=(0, 3))
    said = play.call("run", "--json", expected=(0, 3))
    if '"rows_changed": 0' not in said:
        play.problems.append(f"one more run changed rows: {said}")
    play.call("reconcile", *days, expected=(0,))
    play.call("watch", "--all", expected=(0,))
    dead = ask(play.url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0]["deadlocks"]
    if dead:
        play.problems.append(f"{dead} deadlocks")
    drawn = {r["user_id"]: r["n"] for r in ask(play.url, DRAWN)}
    for user, (bought, used) in balances(play.url).items():
        if bought != before[user][0] + play.bought[user] or used != drawn.get(user, 0):
            play.problems.append(f"credits of {user}: bought {bought}, used {used}, drawn {drawn.get(user)}")
    afresh = cloned(_Server(play.url), named(play.url))
    ask(afresh, "DROP SCHEMA rollup CASCADE")
    applied(afresh)
    play.call("backfill", *days, "--reason", "at once", "--yes", url=afresh)
    for text in COSTS:
        at_once, found = (sorted(map(str, ask(url, text))) for url in (afresh, play.url))
        play.problems += [
            f"at once: {one}; found: {two}" for one, two in zip(at_once, found, strict=True) if one != two
        ]


DRAWN = "SELECT user_id, sum(free + purchased) AS n FROM rollup.credit_draws GROUP BY 1"


class _Server:
    def __init__(self, url: str) -> None:
        self.url = url.rpartition("/")[0] + "/postgres"


def played(seconds: float, server: str) -> Together:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE together")
    url = server.rpartition("/")[0] + "/together"
    last = datetime.now(UTC).date() - timedelta(days=1)
    with psycopg.connect(url) as connection:
        connection.execute(sample.SHAPE_A.read_bytes())
        sample.load(connection, users=USERS, days=DAYS, last_day=last)
    applied(url)
    play = Together(url, last)
    play.call("run")
    before = balances(url)
    each: list[Callable[[], None]] = [play.cron, play.backfills, play.proofs, play.daemon, play.business]
    threads = [threading.Thread(target=one) for one in each]
    for thread in threads:
        thread.start()
    threading.Timer(seconds, play.over.set).start()
    for thread in threads:
        thread.join()
    judged(play, before)
    return play


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder, run_server(Path(folder) / "server", settings=DURABLE) as server:
        play = played(60 * minutes, server)
    print("\n".join(f"{what:<24}{count:>7}" for what, count in sorted(play.codes.items())))  # noqa: T201
    print(f"{len(play.problems)} problems", *play.problems[:20], sep="\n")  # noqa: T201
    return 1 if play.problems else 0


if __name__ == "__main__":
    sys.exit(main())
