"""Opens the last closed month again, so that runs cover it once more and close it anew."""

from datetime import date

from jobs.model.errors import ConfigError
from jobs.model.windows import Window, last_of
from jobs.settings import Settings
from jobs.store import clock, preflight, runlog
from jobs.store.address import Address
from jobs.store.database import linked
from jobs.store.faults import retried
from jobs.store.guard import guarded, name_of_work


def reopen(settings: Settings, address: Address, month: date, reason: str, who: str | None = None) -> int:
    """Opens ``month`` (its first day); the number of the row of rollup.runs that says so, with ``reason``.

    Raises ConfigError (exit 2) for another month than the last one that a run has closed; LockedError (exit 4) while a
    run is at work.
    """
    name = name_of_work(settings)

    def opened() -> int:
        with runlog.beginning(link.connection, settings) as connection:
            history, _ = runlog.history(connection, settings, clock.today(connection))
            if month != (last := max(history.closed, default=None)):
                found = "no month is closed" if last is None else f"the last closed month is {last:%Y-%m}"
                raise ConfigError(f"--month {month:%Y-%m}: expected the last month that a run has closed; {found}")
            window = Window((month,), last_of(month), frozenset())
            number = runlog.begin(connection, settings, "reopen", window, reason=reason, who=who)
            runlog.open_month(connection, settings, month)
            runlog.finish(connection, settings, number, "done", rows_changed=1)
        return number

    with linked(address, name) as link, guarded(address, settings, link):
        _, findings = retried(lambda: preflight.source(link.connection, settings))
        preflight.refuse(findings)
        return retried(opened)
