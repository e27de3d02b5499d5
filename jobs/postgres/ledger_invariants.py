"""The invariants that SQL alone can check: two sums that must be equal, and the rows where they differ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date

from psycopg import sql

from jobs.domain.wording import count
from jobs.postgres import rejects, run_log
from jobs.postgres.connections import Connection
from jobs.postgres.credit_capabilities import CreditCapabilities
from jobs.postgres.invariants import InvariantCheck, describe_sides_sql
from jobs.postgres.ledger import ledger_and_transactions_query, our_transactions_condition
from jobs.postgres.rollup_invariants import CheckScope, note_left_out, rollup_checks
from jobs.postgres.sql_loader import app_table, compose, job_table
from jobs.settings import Settings

LEDGER_BY_ROW = "4 ledger by row = credits_deducted"
FIRST_TEN = 10
Unfinished = tuple[int, str, date, date]
"""A run that did not finish: its number, kind, first and last day."""


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest row of rollup.runs; ``has_written``: whether it has written anything."""

    number: int
    kind: str
    first: date
    last: date
    status: str
    has_written: bool


def check_invariants(
    connection: Connection, settings: Settings, credits: CreditCapabilities, scope: CheckScope
) -> Iterator[InvariantCheck]:
    """Checks every invariant that SQL alone can check, in turn."""
    covered = {"covered": list(scope.months), "first": scope.months[0], "last": scope.months[-1]}
    days = covered | {"months": list(scope.rows_of), "until": scope.until}
    tables = {name: job_table(settings, name) for name in ("months", "touched_days")}
    left_out = connection.execute(compose("ledger.incomplete_months", **tables), [list(scope.months)]).fetchall()
    for title, text, explains in rollup_checks(settings):
        yield note_left_out(_check(connection, title, text, days, explains=explains), scope, left_out)
    for title, text in _ledger_queries(settings, credits):
        yield _check(connection, title, text, days)
    yield from _count_set_aside(connection, settings)
    if credits.has_accounts:
        if credits.has_transactions:
            yield from _check_transactions(connection, settings, credits)
        yield from _count_closed_accounts(connection, settings)


def _check(
    connection: Connection,
    title: str,
    text: sql.Composed,
    values: Mapping[str, object],
    *,
    explains: bool = False,
) -> InvariantCheck:
    """Runs one check. ``text``: a query with the columns key, left_, right_.

    ``explains``: the query also has `difference`, a text where both sides differ; else the two values are compared.
    """
    both = sql.Identifier("left_"), sql.Identifier("right_")
    text = compose(
        "ledger.check",
        check=text,
        difference=sql.Identifier("difference") if explains else describe_sides_sql("", *both),
        is_broken=sql.SQL("difference IS NOT NULL" if explains else "left_ IS DISTINCT FROM right_"),
    )
    row = connection.execute(text, values).fetchone()
    assert row is not None  # noqa: S101 - an aggregate is always one row
    left, right, broken, keys, differences = row
    return InvariantCheck(title, left, right, broken, tuple(keys), tuple(differences))


def _has_account_condition(settings: Settings, table: sql.Identifier) -> sql.Composed:
    return compose("accounts.has_account", accounts=app_table(settings, "user_credits"), table=table)


def _ledger_queries(settings: Settings, credits: CreditCapabilities) -> Iterator[tuple[str, sql.Composed]]:
    tables = {name: job_table(settings, name) for name in ("user_monthly", "debts", "months", "rejects", "runs")}
    draws, usage = job_table(settings, "credit_draws"), app_table(settings, "usage_daily")
    yield "6 rejected rows, as the runs counted = in rollup.rejects", compose("ledger_invariants.rejects", **tables)
    yield "3 free + purchased = deducted, by user and month", compose("ledger_invariants.kinds", **tables)
    yield "4 revisions of a row = the highest one", compose("ledger_invariants.revisions", draws=draws)
    if not credits.has_accounts:
        return
    accounts = {
        "drawn_has": _has_account_condition(settings, draws),
        "user_has": _has_account_condition(settings, tables["user_monthly"]),
    }
    months = compose("ledger_invariants.ledger_months", draws=draws, usage=usage, **tables, **accounts)
    yield "4 ledger by user and month = roll-up", months
    yield "3 uncovered in closed months = debts not settled", compose("ledger_invariants.debts", **tables)
    if credits.has_deducted:
        yield LEDGER_BY_ROW, compose("ledger_invariants.ledger_rows", draws=draws, usage=usage)
    if not credits.has_transactions:
        # With transactions, refunds by other programs are visible there.
        # Composed: which columns exist differs by database.
        used = sql.SQL("({} + {})").format(credits.amount("total_used", "a"), credits.amount("free_credits_used", "a"))
        account = app_table(settings, "user_credits")
        drawn = compose("ledger_invariants.used", draws=draws, accounts=account, used=used)
        yield "4 drawn by us <= used in user_credits", drawn


def _check_transactions(
    connection: Connection, settings: Settings, credits: CreditCapabilities
) -> Iterator[InvariantCheck]:
    draws, transactions = job_table(settings, "credit_draws"), app_table(settings, "credit_transactions")
    parts = {"transactions": transactions, "ours": our_transactions_condition(settings)}
    accounted = {
        "drawn": _has_account_condition(settings, draws),
        "posted": _has_account_condition(settings, transactions),
    }
    compared = ledger_and_transactions_query(settings, **accounted)
    by_run = compose("ledger_invariants.transactions", draws=draws, compared=compared, **parts, **accounted)
    yield _check(connection, "4 ledger by user and run = transactions", by_run, {})
    arithmetic = compose("ledger_invariants.arithmetic", **parts)
    yield _check(connection, "3 balance before + amount = after, not below 0", arithmetic, {}, explains=True)
    accounts = app_table(settings, "user_credits")
    balances = compose("ledger_invariants.balances", accounts=accounts, balance=credits.balance(), **parts)
    check = _check(connection, "4 transactions add up = balance in user_credits", balances, {})
    gaps = connection.execute(compose("ledger_invariants.explained_gaps", **parts)).fetchone()
    notes = [f"other programs posted {count(gaps[0], 'time')} between our transactions"] if gaps and gaps[0] else []
    if check.broken:
        notes.append("a balance that was changed by hand needs a transaction for the change")
        check = replace(check, remedies=tuple(_missing_top_ups(connection, transactions, balances)))
    yield replace(check, note="; ".join(notes))


def _missing_top_ups(connection: Connection, transactions: sql.Identifier, balances: sql.Composed) -> Iterator[str]:
    """Yields the INSERT that each account lacks whose balance is higher than the sum of its transactions."""
    for user, more, balance in connection.execute(compose("accounts.missing_top_ups", balances=balances)):
        text = compose(
            "accounts.insert_top_up",
            transactions=transactions,
            user=sql.Literal(user),
            amount=sql.Literal(more),
            before=sql.Literal(balance - more),
            after=sql.Literal(balance),
        )
        yield text.as_string(connection).rstrip()


def _count_set_aside(connection: Connection, settings: Settings) -> Iterator[InvariantCheck]:
    if found := rejects.list_set_aside(connection, settings):
        some = tuple(sorted(found)[:FIRST_TEN])
        reasons = tuple(found[user] for user in some)
        yield InvariantCheck("users set aside", len(found), "", 0, some, reasons, is_judged=False)


def _count_closed_accounts(connection: Connection, settings: Settings) -> Iterator[InvariantCheck]:
    draws = job_table(settings, "credit_draws")
    text = compose("accounts.missing_accounts", draws=draws, has_account=_has_account_condition(settings, draws))
    row = connection.execute(text).fetchone()
    if row and row[0]:
        note = "they have draws, but no row in user_credits any more; their draws stay in the ledger"
        yield InvariantCheck("users without an account", row[0], "", note=note, is_judged=False)


def read_unfinished_runs(connection: Connection, settings: Settings) -> list[Unfinished]:
    """Returns the runs that have written something and that no later run has completed."""
    text = compose("run_log.unfinished", runs=job_table(settings, "runs"), wrote=run_log.wrote_condition(settings))
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(text)]


def read_last_run(connection: Connection, settings: Settings) -> LastRun | None:
    """Returns the newest run; None before the first."""
    text = compose("run_log.last_run", runs=job_table(settings, "runs"), wrote=run_log.wrote_condition(settings))
    row = connection.execute(text).fetchone()
    return None if row is None else LastRun(*row)
