"""``rollup.set_aside``: users of whom a run wrote nothing, and why: the application's tables refuse it, or their rows
show credits that nothing explains."""

from collections.abc import Collection, Mapping

from jobs.settings import Settings
from jobs.store.database import Connection
from jobs.store.statements import own, statement


def put(connection: Connection, settings: Settings, reasons: Mapping[str, str], run_id: int) -> None:
    """Adds users with their ``reasons``, in the caller's transaction; who is there already keeps his ``since``."""
    text = statement("put_set_aside", set_aside=own(settings, "set_aside"))
    connection.execute(text, {"users": list(reasons), "reasons": list(reasons.values()), "run_id": run_id})


def remove(connection: Connection, settings: Settings, users: Collection[str] | None, *, kept: Collection[str]) -> None:
    """Removes ``users`` (None: everybody) but ``kept``, in the caller's transaction."""
    text = statement("remove_set_aside", set_aside=own(settings, "set_aside"))
    connection.execute(text, {"users": None if users is None else list(users), "kept": list(kept)})


def listed(connection: Connection, settings: Settings) -> dict[str, str]:
    """Who is set aside, and why."""
    return dict(connection.execute(statement("list_set_aside", set_aside=own(settings, "set_aside"))).fetchall())
