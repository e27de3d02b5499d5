"""What a first run must write, as files that COPY takes: for the floor, made beforehand."""

from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import psycopg

from bench.sizes import Size

PARTS = {
    "rows": "SELECT id, total_cost, credits_deducted FROM usage_daily WHERE date BETWEEN '{first}' AND '{last}'",
    "draws": "SELECT * FROM rollup.credit_draws WHERE usage_date BETWEEN '{first}' AND '{last}'",
    "transactions": "SELECT * FROM credit_transactions WHERE type = 'usage' AND "
    "abs(hashtext(user_id)::bigint) % {of} = {number}",
    "days": "SELECT * FROM rollup.user_daily WHERE date BETWEEN '{first}' AND '{last}'",
    "months": "SELECT * FROM rollup.user_monthly WHERE abs(hashtext(user_id)::bigint) % {of} = {number}",
}
"""Rows of usage_daily, ledger, transactions, days and months of users; each connection writes its part of each."""


def days_of(first: date, last: date, connections: int) -> list[tuple[date, date]]:
    """The days from ``first`` to ``last`` as one span for each connection."""
    count = (last - first).days + 1
    starts = [first + timedelta(days=count * number // connections) for number in range(connections + 1)]
    return [(start, following - timedelta(days=1)) for start, following in pairwise(starts)]


def none_of(query: str) -> str:
    """A table of such rows, empty."""
    return query.split(" WHERE ", maxsplit=1)[0] + " WITH NO DATA"


def save(url: str, size: Size, connections: int, folder: Path) -> Path:
    """Saves what the database of a finished first run holds; the folder of it."""
    folder.mkdir(parents=True, exist_ok=True)
    with psycopg.connect(url) as connection:
        for number, (first, last) in enumerate(days_of(size.first, size.last, connections)):
            for name, query in PARTS.items():
                rows = query.format(first=first, last=last, of=connections, number=number)
                text = f"COPY ({rows}) TO STDOUT (FORMAT binary)"
                with (folder / f"{name}.{number}").open("wb") as file, connection.cursor().copy(text.encode()) as copy:
                    for block in copy:
                        file.write(block)
    return folder
