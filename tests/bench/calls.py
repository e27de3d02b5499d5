"""The peer that calls a function of the database for each credit draw, in a transaction of its own, on a sample.

    PYTHONPATH=tests python -m bench.calls URL --first 2026-06-01 --last 2026-06-30 --costs URL --sample 10000

Nothing but draws: what the rows cost is recorded beforehand, as the database ``--costs`` has it. Prints the seconds of
the calls alone, how many they were, and how many rows have draws in all, as JSON.
"""

import json
from pathlib import Path
from time import perf_counter
from typing import Any

import psycopg

from bench.arguments import program


def main() -> None:
    words = program(__doc__ or "")
    words.add_argument("--costs", required=True)
    words.add_argument("--sample", type=int, required=True)
    words.add_argument("--through", help="another URL of the same database, for the calls alone")
    given = words.parse_args()
    with psycopg.connect(given.costs) as costs:
        with_draws = "FROM usage_daily WHERE credits_deducted > 0 AND date BETWEEN %s AND %s"
        count = costs.execute(f"SELECT count(*) {with_draws}".encode(), [given.first, given.last]).fetchone()
        # In the order in which a night comes upon them: the pages that one call has read, the next one needs.
        rows = costs.execute(
            f"SELECT id, total_cost {with_draws} ORDER BY date, user_id LIMIT %s".encode(),
            [given.first, given.last, given.sample],
        ).fetchall()
    assert count is not None
    with psycopg.connect(given.url, autocommit=True) as connection:
        record(connection, rows)
    with psycopg.connect(given.through or given.url, autocommit=True) as connection:
        started = perf_counter()
        for row_id, _ in rows:
            connection.execute("SELECT deduct(%s)", [row_id])
        print(json.dumps({"seconds": perf_counter() - started, "calls": len(rows), "draws": count[0]}))


def record(connection: psycopg.Connection[Any], rows: list[tuple[Any, ...]]) -> None:
    """The function, and the costs of the sample."""
    connection.execute(Path(__file__).with_suffix(".sql").read_bytes())
    connection.execute("CREATE TEMP TABLE costs (id uuid, cost numeric)")
    with connection.cursor().copy("COPY costs FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    connection.execute("UPDATE usage_daily AS u SET total_cost = c.cost FROM costs AS c WHERE c.id = u.id")
    connection.execute("CHECKPOINT")


if __name__ == "__main__":
    main()
