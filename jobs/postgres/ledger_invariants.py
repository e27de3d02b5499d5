"""The invariants that SQL alone can check: two sums that must be equal, and the rows where they differ."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import NamedTuple

from psycopg import sql

from jobs.domain.wording import count
from jobs.postgres import rejects
from jobs.postgres.connections import Connection, read_value
from jobs.postgres.credit_capabilities import CreditCapabilities
from jobs.postgres.invariants import FIRST_TEN, InvariantCheck, describe_sides_sql
from jobs.postgres.ledger import ledger_and_transactions_query, our_transactions_condition
from jobs.postgres.rollup_invariants import CheckScope, note_left_out, rollup_checks
from jobs.postgres.sql_loader import app_table, compose, job_table
from jobs.settings import Settings

LEDGER_BY_ROW = "4 ledger by row = credits_deducted"


class Run(NamedTuple):
    """A row of rollup.runs; ``has_written``: whether the run has written anything."""

    number: int
    kind: str
    first: date
    last: date
    status: str
    has_written: bool

    @property
    def remedy(self) -> str:
        """The command that completes the run."""
        if self.kind == "run":
            return "usage-jobs run"
        return f"usage-jobs backfill --from {self.first} --to {self.last} --reason TEXT"


def check_invariants(
    connection: Connection, settings: Settings, credits: CreditCapabilities, scope: CheckScope
) -> Iterator[InvariantCheck]:
    """Checks every invariant that SQL alone can check, in turn."""
    covered = {"covered": list(scope.months), "first": scope.months[0], "last": scope.months[-1]}
    days = covered | {"months": list(scope.rows_of), "until": scope.until}
    left_out = connection.execute(compose("ledger.incomplete_months", settings), [list(scope.months)]).fetchall()
    for title, text, explains in rollup_checks(settings):
        yield note_left_out(_check(connection, title, text, days, explains=explains), scope, left_out)
    parts = _make_parts(settings, credits)
    for title, query, is_possible in _ledger_checks(credits):
        if is_possible:
            text = compose(f"ledger_invariants.{query}", settings, **parts)
            check = _check(connection, title, text, days, explains=query == "arithmetic")
            yield _explain_balances(connection, settings, check, text, parts) if query == "balances" else check
    yield from _count_set_aside(connection, settings)
    if credits.has_accounts:
        yield from _count_closed_accounts(connection, settings, parts)


def _ledger_checks(credits: CreditCapabilities) -> Iterator[tuple[str, str, bool]]:
    """Yields title, query, and whether the database has what the query reads."""
    has_accounts = credits.has_accounts
    has_transactions = has_accounts and credits.has_transactions
    yield "6 rejected rows, as the runs counted = in rollup.rejects", "rejects", True
    yield "3 free + purchased = deducted, by user and month", "kinds", True
    yield "4 revisions of a row = the highest one", "revisions", True
    yield "4 ledger by user and month = roll-up", "ledger_months", has_accounts
    yield "3 uncovered in closed months = debts not settled", "debts", has_accounts
    yield LEDGER_BY_ROW, "ledger_rows", credits.writes_deducted
    # With transactions, refunds by other programs are visible there.
    yield "4 drawn by us <= used in user_credits", "used", has_accounts and not has_transactions
    yield "4 ledger by user and run = transactions", "transactions", has_transactions
    yield "3 balance before + amount = after, not below 0", "arithmetic", has_transactions
    yield "4 transactions add up = balance in user_credits", "balances", has_transactions


def _make_parts(settings: Settings, credits: CreditCapabilities) -> dict[str, sql.Composable]:
    """Returns what the queries of ``_ledger_checks`` are composed of: which columns exist differs by database."""
    entry, transaction, month = (
        compose("accounts.has_account", settings, table=table)
        for table in (
            job_table(settings, "credit_draws"),
            app_table(settings, "credit_transactions"),
            job_table(settings, "user_monthly"),
        )
    )
    return {
        "entry_has_account": entry,
        "transaction_has_account": transaction,
        "month_has_account": month,
        "ours": our_transactions_condition(settings),
        "compared": ledger_and_transactions_query(settings, which_entries=entry, which_transactions=transaction),
        "balance": credits.balance(),
        "used": sql.SQL("({} + {})").format(credits.amount("total_used"), credits.amount("free_credits_used")),
    }


def _check(
    connection: Connection, title: str, text: sql.Composed, values: Mapping[str, object], *, explains: bool
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
    [(left, right, broken, keys, differences)] = connection.execute(text, values).fetchall()
    return InvariantCheck(title, left, right, broken, tuple(keys), tuple(differences))


def _explain_balances(
    connection: Connection,
    settings: Settings,
    check: InvariantCheck,
    balances: sql.Composed,
    parts: Mapping[str, sql.Composable],
) -> InvariantCheck:
    """Returns the ``check`` of ``balances`` with notes, and with a remedy where transactions are missing."""
    gaps = read_value(connection, compose("ledger_invariants.explained_gaps", settings, **parts))
    notes = [f"other programs posted {count(gaps, 'time')} between our transactions"] if gaps else []
    remedies: tuple[str, ...] = ()
    if check.broken:
        notes.append("a balance that was changed by hand needs a transaction for the change")
        remedies = tuple(_missing_top_ups(connection, settings, balances))
    return replace(check, note="; ".join(notes), remedies=remedies)


def _missing_top_ups(connection: Connection, settings: Settings, balances: sql.Composed) -> Iterator[str]:
    """Yields the INSERT that each account lacks whose balance is higher than the sum of its transactions."""
    for user, more, balance in connection.execute(compose("accounts.missing_top_ups", balances=balances)):
        text = compose(
            "accounts.insert_top_up",
            settings,
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


def _count_closed_accounts(
    connection: Connection, settings: Settings, parts: Mapping[str, sql.Composable]
) -> Iterator[InvariantCheck]:
    if users := read_value(connection, compose("ledger_invariants.missing_accounts", settings, **parts)):
        note = "they have draws, but no row in user_credits any more; their draws stay in the ledger"
        yield InvariantCheck("users without an account", users, "", note=note, is_judged=False)


def read_unfinished_runs(connection: Connection, settings: Settings) -> list[Run]:
    """Returns the runs that have written something and that no later run has completed."""
    return _read_runs(connection, settings, "run_log.unfinished")


def read_last_run(connection: Connection, settings: Settings) -> Run | None:
    """Returns the newest run; None before the first."""
    return next(iter(_read_runs(connection, settings, "run_log.last_run")), None)


def _read_runs(connection: Connection, settings: Settings, query: str) -> list[Run]:
    return [Run(*row) for row in connection.execute(compose(query, settings))]
