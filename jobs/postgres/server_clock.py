"""The clock of the database server: a wrong clock of this host must not cover or close days too early."""

from datetime import UTC, date, datetime, timedelta

from jobs.postgres.connections import Connection, read_value

TOLERATED = timedelta(minutes=5)
"""By how much the host's clock may differ without a note."""


def today(connection: Connection) -> date:
    """Returns the present day by the server's clock, in UTC: usage days are UTC days."""
    return _server(connection).date()


def notes(connection: Connection) -> list[str]:
    """Returns a note on this host's clock; nothing where it agrees with the server's."""
    server = _server(connection)
    apart = _host() - server
    if abs(apart) <= TOLERATED:
        return []
    which = "ahead of" if apart > timedelta() else "behind"
    return [
        f"this host's clock is {abs(timedelta(seconds=round(apart.total_seconds())))} {which} the database server's "
        f"({server:%Y-%m-%d %H:%M:%S} UTC), which decides the day of a run. The schedule uses this host's clock: "
        "correct it"
    ]


def _server(connection: Connection) -> datetime:
    now: datetime = read_value(connection, "SELECT clock_timestamp() AT TIME ZONE 'UTC'")
    return now.replace(tzinfo=UTC)


def _host() -> datetime:
    return datetime.now(UTC)
