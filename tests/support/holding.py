"""Another client that has locked something, and does not let go as long as a block lasts."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg


@contextmanager
def holding(url: str, *locks: str) -> Iterator[None]:
    """``locks``: statements of one transaction, each of which locks at least one row; it ends in ROLLBACK."""
    with psycopg.connect(url) as connection:
        for text in locks:
            assert connection.execute(text.encode()).fetchall(), f"nothing to lock: {text}"
        yield
        connection.rollback()
