"""The invariants that SQL alone can judge: two sums that must be one, and who breaks it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date

from psycopg import sql

from jobs.postgres import rejects, run_log
from jobs.postgres.connections import Connection
from jobs.postgres.credit_capabilities import CreditCapabilities
from jobs.postgres.invariants import Law, sides_in_sql
from jobs.postgres.ledger import ledger_and_transactions, our_transactions
from jobs.postgres.rollup_invariants import Scope, add_left_out_meters, rolled_up
from jobs.postgres.sql_loader import app_table, compose, job_table
from jobs.settings import Settings

LEDGER_BY_ROW = "4 ledger by row = credits_deducted"
FIRST_TEN = 10
Unfinished = tuple[int, str, date, date]
"""A run that did not come to its end: its number, kind, and days from and to."""


@dataclass(frozen=True, slots=True)
class LastRun:
    """A row of rollup.runs; ``wrote``: whether it has written anything."""

    number: int
    kind: str
    first: date
    last: date
    status: str
    wrote: bool


def judged(connection: Connection, settings: Settings, credits: CreditCapabilities, scope: Scope) -> Iterator[Law]:
    """Every law in turn."""
    covered = {"covered": list(scope.months), "first": scope.months[0], "last": scope.months[-1]}
    days = covered | {"months": list(scope.rows_of), "until": scope.until}
    left_out = connection.execute(
        compose(
            "ledger.left_out", months=job_table(settings, "months"), touched_days=job_table(settings, "touched_days")
        ),
        [list(scope.months)],
    ).fetchall()
    for law, text, tells in rolled_up(settings):
        yield add_left_out_meters(_judged(connection, law, text, days, tells=tells), scope, left_out)
    yield _judged(connection, "6 rejected as counted = rejects that stand", _rejects(settings), {})
    for law, text in _ledger(settings, credits):
        yield _judged(connection, law, text, days)
    yield from _set_aside(connection, settings)
    if credits.account is not None:
        if credits.transactions:
            yield from _transactions(connection, settings, credits)
        yield from _closed(connection, settings)


def _judged(
    connection: Connection,
    law: str,
    text: sql.Composed,
    values: Mapping[str, object],
    *,
    tells: bool = False,
) -> Law:
    """``tells``: a row of ``text`` says itself whether and how its sides differ; else their values do."""
    both = sql.Identifier("left_"), sql.Identifier("right_")
    text = compose(
        "ledger.judged",
        law=text,
        difference=sql.Identifier("difference") if tells else sides_in_sql("", *both),
        is_broken=sql.SQL("difference IS NOT NULL" if tells else "left_ IS DISTINCT FROM right_"),
    )
    row = connection.execute(text, values).fetchone()
    assert row is not None  # noqa: S101 - an aggregate is always one row
    left, right, broken, culprits, differences = row
    return Law(law, left, right, broken, tuple(culprits), tuple(differences))


def _rejects(settings: Settings) -> sql.Composed:
    return compose(
        "ledger_invariants.rejects", rejects=job_table(settings, "rejects"), runs=job_table(settings, "runs")
    )


def _has_account(settings: Settings, table: sql.Identifier) -> sql.Composed:
    return compose("accounts.has_account", accounts=app_table(settings, "user_credits"), table=table)


def _ledger(settings: Settings, credits: CreditCapabilities) -> Iterator[tuple[str, sql.Composed]]:
    draws, usage, users = (
        job_table(settings, "credit_draws"),
        app_table(settings, "usage_daily"),
        job_table(settings, "user_monthly"),
    )
    yield "3 free + purchased = deducted, by user and month", compose("ledger_invariants.kinds", user_monthly=users)
    yield "4 revisions of a row = the highest one", compose("ledger_invariants.revisions", draws=draws)
    if credits.account is None:
        return
    months = compose(
        "ledger_invariants.ledger_months",
        draws=draws,
        user_monthly=users,
        usage=usage,
        months=job_table(settings, "months"),
        drawn_has=_has_account(settings, draws),
        user_has=_has_account(settings, users),
    )
    yield "4 ledger by user and month = roll-up", months
    owed = compose(
        "ledger_invariants.debts",
        debts=job_table(settings, "debts"),
        months=job_table(settings, "months"),
        user_monthly=users,
    )
    yield "3 uncovered in closed months = debts not settled", owed
    if credits.deducted:
        yield LEDGER_BY_ROW, compose("ledger_invariants.ledger_rows", draws=draws, usage=usage)
    if not credits.transactions:
        # With a history, what others gave back of it is told there.
        used = sql.SQL("({} + {})").format(credits.amount("total_used", "a"), credits.amount("free_credits_used", "a"))
        accounts = app_table(settings, "user_credits")
        yield (
            "4 drawn by us <= used in user_credits",
            compose("ledger_invariants.used", draws=draws, accounts=accounts, used=used),
        )


def _transactions(connection: Connection, settings: Settings, credits: CreditCapabilities) -> Iterator[Law]:
    draws, transactions = job_table(settings, "credit_draws"), app_table(settings, "credit_transactions")
    parts = {"transactions": transactions, "ours": our_transactions(settings)}
    accounted = {"drawn": _has_account(settings, draws), "posted": _has_account(settings, transactions)}
    compared = ledger_and_transactions(settings, **accounted)
    booked = compose("ledger_invariants.transactions", draws=draws, compared=compared, **parts, **accounted)
    yield _judged(connection, "4 ledger by user and run = transactions", booked, {})
    arithmetic = compose("ledger_invariants.arithmetic", **parts)
    yield _judged(connection, "3 balance before + amount = after, not below 0", arithmetic, {}, tells=True)
    accounts = app_table(settings, "user_credits")
    balances = compose("ledger_invariants.balances", accounts=accounts, balance=credits.balance(), **parts)
    law = _judged(connection, "4 transactions add up = balance in user_credits", balances, {})
    gaps = connection.execute(compose("ledger_invariants.explained_gaps", **parts)).fetchone()
    note = f"other programs posted between two of ours {gaps[0]:,} times" if gaps and gaps[0] else ""
    if law.broken:
        note = f"{note and note + '; '}a balance that was changed by hand needs a transaction that says so"
    yield replace(law, note=note, remedies=tuple(_top_ups(connection, transactions, balances)) if law.broken else ())


def _top_ups(connection: Connection, transactions: sql.Identifier, balances: sql.Composed) -> Iterator[str]:
    """The INSERT that each account lacks whose balance is more than its transactions say."""
    for user, more, balance in connection.execute(compose("accounts.missing_top_ups", law=balances)):
        text = compose(
            "accounts.insert_top_up",
            transactions=transactions,
            user=sql.Literal(user),
            amount=sql.Literal(more),
            before=sql.Literal(balance - more),
            after=sql.Literal(balance),
        )
        yield text.as_string(connection).rstrip()


def _set_aside(connection: Connection, settings: Settings) -> Iterator[Law]:
    if found := rejects.list_set_aside(connection, settings):
        some = sorted(found)[:FIRST_TEN]
        reasons = tuple(found[user] for user in some)
        yield Law("users set aside", len(found), "", culprits=tuple(some), differences=reasons, judged=False)


def _closed(connection: Connection, settings: Settings) -> Iterator[Law]:
    draws = job_table(settings, "credit_draws")
    text = compose("accounts.closed_accounts", draws=draws, has_account=_has_account(settings, draws))
    row = connection.execute(text).fetchone()
    if row and row[0]:
        note = "they have draws, but no row in user_credits any more: what was booked of them stays"
        yield Law("users without an account", row[0], "", note=note, judged=False)


def unfinished(connection: Connection, settings: Settings) -> list[Unfinished]:
    """Runs that wrote and that nothing has completed."""
    text = compose("run_log.unfinished", runs=job_table(settings, "runs"), wrote=run_log.wrote_condition(settings))
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(text)]


def last_run(connection: Connection, settings: Settings) -> LastRun | None:
    """The newest run; None before the first."""
    text = compose("run_log.last_run", runs=job_table(settings, "runs"), wrote=run_log.wrote_condition(settings))
    row = connection.execute(text).fetchone()
    return None if row is None else LastRun(*row)
