"""Fills an empty database with the usage of a size.

    PYTHONPATH=tests python -m bench.data URL --first 2026-06-01 --last 2026-06-30 --users 10000

A process of its own: Linux counts what a process holds when it starts another as the other's peak memory, too.
"""

from pathlib import Path

import psycopg

from bench.arguments import program
from bench.sizes import Size
from jobs.demo import sample

HERE = Path(__file__).parent


def main() -> None:
    words = program(__doc__ or "")
    words.add_argument("--users", type=int, required=True)
    given = words.parse_args()
    fill(given.url, Size(given.users, (given.last - given.first).days + 1, given.last))


def fill(url: str, size: Size) -> None:
    """Usage of the sample's crowd alone, accounts, and the script's empty tables."""
    with psycopg.connect(url, autocommit=True) as connection:
        sample.create_tables(connection)
        sample.load(connection, users=size.users + len(sample.CAST), days=size.days, last_day=size.last)
        months = -(-size.days // 30)
        for statement in (HERE / "crowd.sql").read_text().split(";\n"):
            connection.execute(statement.replace("%(months)s", str(months)).encode())
        connection.execute((HERE / "peer_tables.sql").read_bytes())
        connection.execute("VACUUM ANALYZE")


if __name__ == "__main__":
    main()
