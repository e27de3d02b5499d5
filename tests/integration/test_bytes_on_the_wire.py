"""What an unchanged run costs: nearly no bytes over the wire, no usage row, and not even the import of polars.

The command is a process of its own on the machine's clock. WIRE_ROWS sets how many usage rows there are.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from commands import RATES, ask, configured
from conftest import Databases
from counting_proxy import CountingProxy
from counts import count
from many_users import fill_days, fill_users, user_id
from plain_runs import Runs
from run_process import environment

ROWS = count("WIRE_ROWS")
DAYS = 30
USERS = ROWS // DAYS
CONTRACT = 300_000
"""Rows of which an unchanged run may move 1 %."""
COMMAND = """
import sys
from jobs.cli.main import main
code = main(sys.argv[1:])
print("polars" in sys.modules, file=sys.stderr)
sys.exit(code)
"""
"""The command, whose last line on standard error tells whether polars was imported."""
COLUMNS = (
    "id, user_id, date, hopsworks_cluster_id, cpu_hours, gpu_hours, storage_gb, feature_store_api_calls, "
    "model_inference_calls, total_cost, credits_deducted"
)
pytestmark = pytest.mark.direct("counts bytes and connections between the job and a server of the suite's")


@dataclass(frozen=True)
class Used:
    """A database whose usage, up to ``last``, one run has done; ``folder`` holds the settings."""

    url: str
    folder: Path
    last: date

    def run(self, proxy: CountingProxy) -> tuple[dict[str, Any], bool, int]:
        """Another run of that night: its JSON object, whether polars was imported, and the bytes that it moved."""
        proxy.moved()
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "run", "--json"],
            env=environment() | {"DATABASE_URL": proxy.url},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr.split()[-1] == "True", proxy.moved()


@pytest.fixture(scope="module")
def used(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Used]:
    """Filled once: the tests here leave no more behind than the one row that one of them changes."""
    found = prepared(databases, tmp_path_factory.mktemp("wire"), USERS)
    yield found
    databases.retire([found.url])


def prepared(databases: Databases, folder: Path, users: int) -> Used:
    """A database that has been run once."""
    last = datetime.now(UTC).date() - timedelta(days=1)
    first = last - timedelta(days=DAYS - 1)
    # All months stay open: a night that closes one has something to write.
    lines = (
        'cost = "rated"',
        'rates = "rates.csv"',
        f'start = "{first:%Y-%m}"',
        "close_after_days = 365",
        'reader = "connectorx"',
    )
    configured(folder, settings="\n".join(lines), rates=RATES)
    url = databases.create("a")
    Runs({}).prepare(url)
    fill_users(url, users)
    fill_days(url, users, first, last)
    found = Used(url, folder, last)
    with CountingProxy(url) as proxy:
        told, _, _ = found.run(proxy)
    assert told["rows_read"] == users * DAYS
    ask(url, "ANALYZE rollup.user_monthly")
    return found


@pytest.fixture
def proxy(used: Used) -> Iterator[CountingProxy]:
    with CountingProxy(used.url) as proxy:
        yield proxy


def reading(proxy: CountingProxy) -> int:
    """The bytes that a COPY of what the job would read moves."""
    proxy.moved()
    with psycopg.connect(proxy.url) as connection:
        text = f"COPY (SELECT {COLUMNS} FROM usage_daily) TO STDOUT (FORMAT csv)"
        with connection.cursor().copy(text.encode()) as copy:
            rows = sum(1 for _ in copy)
    assert rows >= USERS * DAYS
    return proxy.moved()


@pytest.mark.thorough
def test_an_unchanged_run_reads_nothing(
    used: Used, proxy: CountingProxy, record_property: Callable[[str, object], None]
) -> None:
    """What it asks of the catalog is the same for any number of rows: judged as if there were 300,000."""
    told, has_polars, moved = used.run(proxy)
    whole = reading(proxy)
    record_property("bytes of an unchanged run", moved)
    record_property("bytes of reading", whole)
    assert (told["rows_read"], told["rows_changed"], told["users_recomputed"]) == (0, 0, 0)
    assert not has_polars
    assert moved < whole * max(1, CONTRACT / ROWS) / 100


@pytest.mark.thorough
def test_the_bytes_of_an_unchanged_run_do_not_grow_with_the_rows(
    used: Used, proxy: CountingProxy, databases: Databases, tmp_path: Path
) -> None:
    """Beyond what a run moves where there is next to nothing: under 1 % of what reading moves."""
    _, _, moved = used.run(proxy)
    whole = reading(proxy)
    small = prepared(databases, tmp_path, 10)
    with CountingProxy(small.url) as narrow:
        _, _, least = small.run(narrow)
    databases.retire([small.url])
    assert moved - least < whole / 100


def test_one_late_row_costs_its_user_alone(used: Used, proxy: CountingProxy) -> None:
    change = "UPDATE usage_daily SET cpu_hours = cpu_hours + 1 WHERE id = md5(user_id || ' ' || date)::uuid"
    assert ask(used.url, f"{change} AND user_id = %s AND date = %s RETURNING id", user_id(2), used.last)
    told, _, moved = used.run(proxy)
    assert (told["users_recomputed"], told["rows_read"]) == (1, DAYS)
    assert told["rows_changed"] > 0
    assert moved < reading(proxy) * max(1, CONTRACT / ROWS) / 50
    again, has_polars, _ = used.run(proxy)
    assert (again["rows_changed"], again["rows_read"], has_polars) == (0, 0, False)
