"""The day that the database server's clock shows, as the job asks for it; of each thread its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from jobs.postgres import server_clock
from jobs.postgres.connections import Connection

_shown = threading.local()
_ask = server_clock.today


def _today(connection: Connection) -> date:
    answer = _ask(connection)
    day: date | None = getattr(_shown, "day", None)
    return answer if day is None else day


server_clock.today = _today


@contextmanager
def server_day(day: date) -> Iterator[None]:
    """Until it ends the job, in this thread, asks the server as ever, and takes ``day`` for its answer."""
    before = getattr(_shown, "day", None)
    _shown.day = day
    try:
        yield
    finally:
        _shown.day = before
