"""What a run that reads with connectorx leaves open: nothing after it, and no idle transaction while it works.

At each BEGIN and COMMIT of the run, which waits meanwhile, the server is asked who is idle in a transaction. That may
be who holds the run lock; before a COMMIT also the transaction that is about to commit, as there is one worker. A
connection that reads is active, or gone.
"""

from collections.abc import Callable
from datetime import date
from threading import Lock

import psycopg
import pytest
from many_users import fill_days, fill_users
from plain_runs import Runs
from run_process import run_in_process
from ticker import becomes_true
from wire import Statement, Verdict, Wire

USERS = 40
FIRST, DAY = date(2026, 6, 16), date(2026, 6, 20)
VALUES = {
    "USAGE_JOBS_COST": "rated",
    "USAGE_JOBS_START": "2026-06",
    "USAGE_JOBS_READER": "connectorx",
    "USAGE_JOBS_BATCH_ROWS": "60",
}
OTHERS = """
SELECT pid, application_name, state, query FROM pg_stat_activity AS a
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> ALL(%(known)s)
"""
IDLE = f"""
{OTHERS} AND state LIKE 'idle in transaction%%'
  AND NOT EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.granted)
"""
pytestmark = pytest.mark.direct("looks at the server's own connections, which are a pooler's otherwise")


class Watcher:
    """Asks the server about connections that were not there when it was made; usable by many threads."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._lock = Lock()
        text = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        self._known = [row[0] for row in self._connection.execute(text)]

    def others(self, query: str = OTHERS) -> list[str]:
        with self._lock:
            return [str(row) for row in self._connection.execute(query.encode(), {"known": self._known})]

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def url(make_database: Callable[..., str]) -> str:
    url = make_database()
    Runs(VALUES).prepare(url)
    fill_users(url, USERS)
    fill_days(url, USERS, FIRST, DAY)
    return url


@pytest.fixture
def watcher(url: str) -> Watcher:
    return Watcher(url)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_connection_outlives_its_run(workers: str, url: str, watcher: Watcher) -> None:
    report = Runs(VALUES | {"USAGE_JOBS_WORKERS": workers}).run(url, DAY)
    assert report.rows_read == USERS * 5
    gone = becomes_true(lambda: not watcher.others())
    left = watcher.others()
    watcher.close()
    assert gone, left


@pytest.mark.thorough
def test_no_transaction_is_idle_but_the_run_lock_and_the_batch_at_work(url: str, watcher: Watcher) -> None:
    idle: list[tuple[str, list[str]]] = []
    asked: list[str] = []

    def hook(statement: Statement) -> Verdict:
        word = "".join(statement.text.split(maxsplit=1)[:1]).rstrip(";").upper()
        if word in ("BEGIN", "COMMIT"):
            found = watcher.others(IDLE)
            asked.append(word)
            if len(found) > (1 if word == "COMMIT" else 0):
                idle.append((f"{statement.connection}: {statement.text}", found))
        return Verdict.PASS

    with Wire(url, hook) as wire:
        run_in_process(wire.url, DAY, VALUES | {"USAGE_JOBS_WORKERS": "1"})
    watcher.close()
    assert asked.count("COMMIT") > 3, "one for each batch, and others"
    assert idle == []
