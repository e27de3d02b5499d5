"""Reads what statements need, in one snapshot, and writes them: one, or all of a month into a folder."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

from jobs.domain.billing_periods import last_of
from jobs.domain.errors import ConfigError
from jobs.pipeline.covered_months import open_month, read_covered_months
from jobs.pipeline.output_files import replace_private
from jobs.pipeline.run_request import Progress
from jobs.postgres import statements
from jobs.postgres.connections import Connection, query_database
from jobs.postgres.conninfo import Address
from jobs.postgres.run_scope import RunScope
from jobs.reports.rated_month import RatedUsers, rate_all_users, rate_users, refuse_changed
from jobs.reports.statement import Operator, Statement
from jobs.reports.statement_figures import compute_figures
from jobs.reports.statement_maker import MonthFacts, make_statement
from jobs.reports.statement_pages import PageWriter, read_logo, render_page, require_libraries
from jobs.settings import Settings

LONGEST_NAME = 120
PING_SECONDS = 60
"""How often the server hears of us while pages are made: it ends a transaction that is idle for 15 minutes."""


@dataclass(frozen=True, slots=True)
class StatementRequest:
    """Which statements are asked for.

    - ``user``: None: of all users; ``out``: then a folder, else a file or None
    - ``format``: html or pdf; ``with_names``: whether names and e-mail addresses are read
    """

    month: date
    user: str | None
    out: Path | None
    format: str
    with_names: bool = True


@dataclass(frozen=True, slots=True)
class Listed:
    """A statement of a folder, as its index lists it."""

    user: str
    file: str
    currency: str
    total: Decimal
    due: Decimal | None
    uncovered: Decimal | None

    @classmethod
    def of(cls, statement: Statement, file: str) -> "Listed":
        due, uncovered = (None if each is None else each.rounded for each in (statement.due, statement.uncovered))
        return cls(statement.user, file, statement.currency, statement.total.rounded, due, uncovered)


@dataclass(slots=True)
class WrittenStatements:
    """All statements of a month: those written, and users whose usage or prices have changed since the last run."""

    month: date
    index: Path
    last: date | None = None
    is_final: bool = False
    written: list[Listed] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def make_one(settings: Settings, address: Address, request: StatementRequest) -> tuple[Statement, bytes, list[str]]:
    """Returns the statement of one user, its page, and notes for the operator.

    Raises ConfigError for a month that is not covered, a user without usage in it, and mistakes of logo or template;
    DataChangedError if usage or prices of the user have changed since the last run.
    """
    require_libraries(request.format)
    operator = _make_operator(settings)

    def read(connection: Connection) -> tuple[Statement, list[str]]:
        scope, facts = _read_facts(connection, settings, request.month, operator)
        user = str(request.user)
        rated, changed = rate_users(connection, address, scope, [user])
        refuse_changed(scope, changed)
        made = [*_make_all(connection, scope, facts, rated, with_names=request.with_names)]
        if not made:
            raise ConfigError(
                f"--user {user[:200]!r}: no usage in {request.month:%Y-%m}; expected a value of usage_daily.user_id "
                "(often with a prefix such as auth0|) with usage in that month"
            )
        return made[0], _notes(facts)

    statement, notes = query_database(address, read, snapshot=True)
    return statement, render_page(statement, settings.reports.template, request.format), notes


def write_all(
    settings: Settings, address: Address, request: StatementRequest, progress: Progress | None = None
) -> WrittenStatements:
    """Writes the statements of all users of a month into the folder ``request.out``, and their index.

    A user whose usage or prices have changed since the last run is left out, and named in the result and in the index;
    a file of an earlier time stays. Raises ConfigError as ``make_one``, and OSError.
    """
    require_libraries(request.format)
    folder, operator = _require_folder(request.out), _make_operator(settings)
    done = query_database(
        address,
        lambda connection: _write_all(connection, address, settings, request, operator, progress),
        snapshot=True,
    )
    replace_private(folder / done.index.name, _make_index(done).encode())
    return done


def _write_all(
    connection: Connection,
    address: Address,
    settings: Settings,
    request: StatementRequest,
    operator: Operator,
    progress: Progress | None,
) -> WrittenStatements:
    scope, facts = _read_facts(connection, settings, request.month, operator)
    folder = _require_folder(request.out)
    done = WrittenStatements(request.month, folder / f"{request.month:%Y-%m}-index.json", facts.last, facts.is_closed)
    done.notes = _notes(facts)
    ping = _make_ping(connection)
    with PageWriter(settings.reports.template, request.format, settings.workers) as writer:
        for rated, changed in rate_all_users(connection, address, scope):
            done.refused += sorted(changed)
            for statement in _make_all(connection, scope, facts, rated, with_names=request.with_names):
                name = name_file(statement.user, request.month, request.format)
                writer.write(statement, folder / name, ping)
                done.written.append(Listed.of(statement, name))
                if progress is not None:
                    progress("statements", len(done.written), None)
    return done


def _make_ping(connection: Connection) -> Callable[[], None]:
    last = time.monotonic()

    def ping() -> None:
        nonlocal last
        if time.monotonic() - last > PING_SECONDS:
            # No named query: it reads nothing.
            connection.execute("SELECT 1")
            last = time.monotonic()

    return ping


def name_file(user: str, month: date, suffix: str) -> str:
    """Returns the file name of a user's statement: unique, whatever the id, also where case does not count."""
    quoted = quote(user, safe="")
    if len(quoted) > LONGEST_NAME or any(letter.isupper() for letter in user):
        # A + is in no quoted id, so no other id has this name.
        quoted = f"{quoted[:LONGEST_NAME]}+{hashlib.sha256(user.encode()).hexdigest()[:32]}"
    return f"{month:%Y-%m}-{quoted}.{suffix}"


def _require_folder(folder: Path | None) -> Path:
    if folder is None:
        raise ConfigError("--all: expected --out DIR with it: the folder for the statements")
    return folder


def _make_operator(settings: Settings) -> Operator:
    reports = settings.reports
    return Operator(reports.operator, tuple(reports.address.strip().splitlines()), read_logo(reports.logo))


def _read_facts(
    connection: Connection, settings: Settings, month: date, operator: Operator
) -> tuple[RunScope, MonthFacts]:
    covered = read_covered_months(connection, settings)
    scope = open_month(connection, covered, month)
    return scope, MonthFacts(
        month=month,
        last=scope.window.last,
        is_closed=covered.is_closed(month),
        is_over=covered.today > last_of(month),
        currency=scope.currency,
        places=settings.currency_scale,
        ledger_places=scope.credit_rules.scale,
        tier_period=settings.tiers,
        meters={meter.name: meter for meter in scope.meters},
        cluster_names=statements.read_cluster_names(connection, settings, month),
        operator=operator,
        has_entries=statements.may_read_entries(connection, settings),
    )


def _notes(facts: MonthFacts) -> list[str]:
    if facts.has_entries:
        return []
    return [
        "statements have no entries of credit accounts: the table credit_transactions is missing, or this role may not "
        "read all of its columns. See: usage-jobs check"
    ]


def _make_all(
    connection: Connection, scope: RunScope, facts: MonthFacts, rated: RatedUsers, *, with_names: bool
) -> Iterator[Statement]:
    figures = [*compute_figures(scope, rated)]
    known = statements.read_users(
        connection,
        scope.settings,
        facts.month,
        [each.user for each in figures],
        has_entries=facts.has_entries,
        names=with_names,
    )
    for each in figures:
        yield make_statement(facts, each, known[each.user])


def _make_index(done: WrittenStatements) -> str:
    listed = [
        {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in asdict(each).items()}
        for each in done.written
    ]
    month = {"month": f"{done.month:%Y-%m}", "last_day": str(done.last), "final": done.is_final}
    return json.dumps({**month, "statements": listed, "refused": done.refused}, ensure_ascii=False, indent=1) + "\n"
