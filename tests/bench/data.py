"""Fills an empty database with the usage of a size.

    PYTHONPATH=tests python -m bench.data URL --users 10000 --days 30 --last 2026-06-30

A process of its own: Linux counts what a process holds when it starts another as the other's peak memory, too.
"""

import argparse
from datetime import date
from pathlib import Path

import psycopg

from bench.sizes import Size
from jobs.demo import sample
from jobs.look import apply_schema
from jobs.settings import load
from jobs.store.address import Address

HERE = Path(__file__).parent


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("url")
    words.add_argument("--users", type=int, required=True)
    words.add_argument("--days", type=int, required=True)
    words.add_argument("--last", type=date.fromisoformat, required=True)
    given = words.parse_args()
    fill(given.url, Size(given.users, given.days, given.last))


def fill(url: str, size: Size) -> None:
    """Usage of the sample's crowd alone, accounts, the job's empty tables and the script's."""
    with psycopg.connect(url, autocommit=True) as connection:
        sample.create_tables(connection)
        sample.load(connection, users=size.users + len(sample.CAST), days=size.days, last_day=size.last)
        months = -(-size.days // 30)
        for statement in (HERE / "crowd.sql").read_text().split(";\n"):
            connection.execute(statement.replace("%(months)s", str(months)).encode())
        connection.execute((HERE / "peer_tables.sql").read_bytes())
        apply_schema(load(None, {}, HERE), Address(url))
        connection.execute("VACUUM ANALYZE")


if __name__ == "__main__":
    main()
