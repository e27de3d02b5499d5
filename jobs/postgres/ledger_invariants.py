"""The invariants that SQL alone can check: two sums that must be equal, and the rows where they differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import NamedTuple

from psycopg import sql

from jobs.domain.wording import count
from jobs.postgres import rejects
from jobs.postgres.connections import Connection, read_value
from jobs.postgres.credit_capabilities import CreditCapabilities
from jobs.postgres.invariants import FIRST_TEN, InvariantCheck, describe_sides_sql
from jobs.postgres.rollup_invariants import note_left_out, rollup_checks
from jobs.postgres.sql_loader import app_table, compose, job_table
from jobs.postgres.user_state import ledger_and_transactions_query, our_transactions_condition
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
    connection: Connection,
    settings: Settings,
    credits: CreditCapabilities,
    months: Sequence[date],
    row_months: Sequence[date],
    until: date,
) -> Iterator[InvariantCheck]:
    """Checks every invariant that SQL alone can check, in turn, in ``months`` (sorted).

    ``row_months``: the months whose usage rows are checked; ``until``: the last day that a run has covered.
    """
    days = {"covered": list(months), "first": months[0], "last": months[-1], "months": list(row_months), "until": until}
    left_out = connection.execute(compose("ledger.incomplete_months", settings), [list(months)]).fetchall()
    for title, text, explains in rollup_checks(settings):
        yield note_left_out(_check(connection, title, text, days, explains=explains), months, left_out)
    parts = _make_parts(settings, credits)
    for title, query in _ledger_checks(credits).items():
        text = compose(f"ledger_invariants.{query}", settings, **parts)
        check = _check(connection, title, text, days, explains=query == "arithmetic")
        yield _explain_balances(connection, settings, check, text, parts) if query == "balances" else check
    if found := rejects.list_set_aside(connection, settings):
        some = dict(sorted(found.items())[:FIRST_TEN])
        yield InvariantCheck("users set aside", len(found), "", 0, tuple(some), tuple(some.values()), is_judged=False)
    text = compose("ledger_invariants.missing_accounts", settings, **parts)
    if credits.has_accounts and (users := read_value(connection, text)):
        note = "they have draws, but no row in user_credits any more; their draws stay in the ledger"
        yield InvariantCheck("users without an account", users, "", note=note, is_judged=False)


def _ledger_checks(credits: CreditCapabilities) -> dict[str, str]:
    """Returns the query of each check of which the database has what it reads, by title."""
    checks = {
        "6 rejected rows, as the runs counted = in rollup.rejects": "rejects",
        "3 free + purchased = deducted, by user and month": "kinds",
        "4 revisions of a row = the highest one": "revisions",
    }
    if credits.writes_deducted:
        checks[LEDGER_BY_ROW] = "ledger_rows"
    if not credits.has_accounts:
        return checks
    checks["4 ledger by user and month = roll-up"] = "ledger_months"
    checks["3 uncovered in closed months = debts not settled"] = "debts"
    if not credits.has_transactions:
        # With transactions, refunds by other programs are visible there.
        return checks | {"4 drawn by us <= used in user_credits": "used"}
    return checks | {
        "4 ledger by user and run = transactions": "transactions",
        "3 balance before + amount = after, not below 0": "arithmetic",
        "4 transactions add up = balance in user_credits": "balances",
    }


def _make_parts(settings: Settings, credits: CreditCapabilities) -> dict[str, sql.Composable]:
    """Returns what the queries of ``_ledger_checks`` are composed of: which columns exist differs by database."""
    tables = {
        "entry": job_table(settings, "credit_draws"),
        "transaction": app_table(settings, "credit_transactions"),
        "month": job_table(settings, "user_monthly"),
    }
    has = {name: compose("accounts.has_account", settings, table=table) for name, table in tables.items()}
    return {
        **{f"{name}_has_account": condition for name, condition in has.items()},
        "ours": our_transactions_condition(settings),
        "compared": ledger_and_transactions_query(
            settings, which_entries=has["entry"], which_transactions=has["transaction"]
        ),
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
    """Returns the ``check`` of ``balances`` with notes, and with remedies where transactions are missing."""
    gaps = read_value(connection, compose("ledger_invariants.explained_gaps", settings, **parts))
    notes = [f"other programs posted {count(gaps, 'time')} between our transactions"] if gaps else []
    if not check.broken:
        return replace(check, note="; ".join(notes))
    notes.append("a balance that was changed by hand needs a transaction for the change")
    table = sql.Literal(app_table(settings, "credit_transactions").as_string(None))
    missing = connection.execute(compose("accounts.missing_top_ups", balances=balances, transactions=table))
    return replace(check, note="; ".join(notes), remedies=tuple(insert for (insert,) in missing))


def read_unfinished_runs(connection: Connection, settings: Settings) -> tuple[list[Run], Run | None]:
    """Returns the runs that have written something and that no later run has completed; and the newest run."""
    unfinished = [Run(*row) for row in connection.execute(compose("run_log.unfinished", settings))]
    last = connection.execute(compose("run_log.last_run", settings)).fetchone()
    return unfinished, last and Run(*last)
