"""Manual changes: a closed month is reopened, debts are written off.

Each is made under the run lock, and has a row of its own in rollup.runs.
"""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import TypeVar

from jobs.domain.billing_periods import Window, first_of, last_of
from jobs.domain.errors import ConfigError
from jobs.postgres import debts, preflight, run_log, server_clock
from jobs.postgres.connections import Connection, open_link
from jobs.postgres.conninfo import Address
from jobs.postgres.errors import retry
from jobs.postgres.run_lock import hold_run_lock, worker_name
from jobs.settings import Settings

T = TypeVar("T")


def reopen(settings: Settings, address: Address, month: date, reason: str, who: str | None = None) -> int:
    """Opens the last closed month again, so that runs cover and close it once more. Returns the run_id.

    ``month``: its first day; ``reason``, ``who``: for rollup.runs. Raises ConfigError (exit 2) for any other month;
    LockedError (exit 4) while a run is active.
    """

    def open_month(connection: Connection) -> int:
        history, _ = run_log.read_history(connection, settings, server_clock.today(connection))
        if month != (last := max(history.closed, default=None)):
            found = "no month is closed" if last is None else f"the last closed month is {last:%Y-%m}"
            raise ConfigError(f"--month {month:%Y-%m}: expected the last month that a run has closed; {found}")
        run_id = run_log.insert_run(connection, settings, "reopen", _log_window(month, month), reason=reason, who=who)
        run_log.reopen_month(connection, settings, month)
        run_log.finish_run(connection, settings, run_id, "done", rows_changed=1)
        return run_id

    return _change_alone(settings, address, open_month)


def write_off(
    settings: Settings, address: Address, user: str, reason: str, who: str | None = None
) -> tuple[int, Decimal]:
    """Writes off the open debts of ``user``. Returns the run_id and the amount.

    ``reason``, ``who``: for rollup.runs. Raises ConfigError (exit 2) if no debt is open; LockedError (exit 4) while a
    run is active.
    """

    def write_off_debts(connection: Connection) -> tuple[int, Decimal]:
        open_debts = [debt for debt in debts.read_debts(connection, settings, user) if debt.open]
        if not open_debts:
            raise ConfigError(f"--user {user}: expected a user with open debts; found none. See: usage-jobs debts")
        window = _log_window(first_of(open_debts[0].usage_date), first_of(open_debts[-1].usage_date))
        run_id = run_log.insert_run(connection, settings, "write-off", window, reason=reason, who=who)
        debts.write_off(connection, settings, user, reason, run_id)
        run_log.finish_run(connection, settings, run_id, "done", rows_changed=len(open_debts))
        return run_id, sum((debt.open for debt in open_debts), start=Decimal(0))

    return _change_alone(settings, address, write_off_debts)


def _change_alone(settings: Settings, address: Address, change: Callable[[Connection], T]) -> T:
    """Does ``change`` in one transaction, under the run lock."""

    def run_change() -> T:
        with run_log.begin_run(link.connection, settings) as connection:
            return change(connection)

    with open_link(address, worker_name(settings)) as link, hold_run_lock(address, settings, link.disconnect):
        _, findings = retry(lambda: preflight.inspect_source(link.connection, settings))
        preflight.refuse_findings(findings)
        return retry(run_change)


def _log_window(first: date, last: date) -> Window:
    """Returns a window for the run log: from the first month to the last."""
    return Window((first,), last_of(last), frozenset())
