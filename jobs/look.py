"""What looks without changing anything (check, runs), and what makes the job's own tables (schema --apply)."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from jobs.model.errors import UsageJobsError
from jobs.pipeline.plan import Plan, make_plan
from jobs.postgres.reader_choice import choose
from jobs.settings import Settings
from jobs.store import clock, exposure, orphans, pooling, preflight, privileges, runlog, schema, speed, user_view
from jobs.store.address import Address
from jobs.store.database import Connection, linked, transaction
from jobs.store.debts import Debt, listed
from jobs.store.faults import retried
from jobs.store.findings import Finding


def check(settings: Settings, address: Address) -> list[Finding]:
    """Every finding of the preflight, what the next run would cover, and who usage refers to in vain."""

    def looked() -> list[Finding]:
        way = list(_way(link.connection, settings, address))
        with transaction(link.connection) as connection:
            return [*way, *_inside(connection, settings)]

    with linked(address) as link:
        return retried(looked)


def _way(connection: Connection, settings: Settings, address: Address) -> Iterator[Finding]:
    """How the database is reached, and how usage will be read over it."""
    pool = pooling.named(address, connection)
    yield Finding("ok", "connection", "a server, or a pooler", pool)
    yield _tls(connection, address)
    reader = choose(settings.reader, address, pooled=pool not in (pooling.DIRECT, pooling.SESSION))
    yield Finding("ok", "reader", f"reader = {settings.reader!r}", reader)


def _tls(connection: Connection, address: Address) -> Finding:
    mode = address.parts.get("sslmode", "prefer")
    found = f"{'on' if connection.pgconn.ssl_in_use else 'off'} (sslmode={mode})"
    if address.warning is None:  # safe, or this machine
        return Finding("ok", "TLS", "as the address says", found)
    return Finding(
        "note", "TLS", "on, the server's certificate verified", found, "Another could answer", address.warning
    )


def _inside(connection: Connection, settings: Settings) -> Iterator[Finding]:
    source, findings = preflight.source(connection, settings, thorough=True)
    yield from findings
    yield from privileges.needless(connection, settings)
    yield from exposure.findings(connection, settings)
    if any(finding.level == "refused" for finding in findings):
        return
    yield from speed.findings(connection, settings, writes=settings.cost == "rated" or source.credits.shown)
    today = clock.today(connection)
    try:
        plan = make_plan(connection, settings, source, None, today)
    except UsageJobsError as error:
        yield Finding("refused", "the next run", "start, rates, a price for every day", str(error))
        return
    yield Finding("ok", "the next run", "open months", f"{plan.window.first} to {plan.window.last}")
    for note in plan.notes:
        yield Finding("note", "the next run", "nothing to note", note)
    yield from _without_card(plan)
    yield from orphans.findings(connection, settings, source, today - timedelta(days=31))


def _without_card(plan: Plan) -> Iterator[Finding]:
    """Optional meters whose column is there, and that some days or all go without for want of a price."""
    for meter in plan.query.read.meters:
        since = plan.query.since.get(meter.name)
        if since is None or since > plan.window.first:
            found = f"none before {since}" if since else "none"
            subject = f"card of {meter.name} (optional meter)"
            yield Finding("note", subject, "a price for every day", found, "Left out on the days without one")


def runs(settings: Settings, address: Address, limit: int) -> list[dict[str, Any]]:
    """The run log, newest first."""

    def listed() -> list[dict[str, Any]]:
        with transaction(link.connection) as connection:
            return runlog.listed(connection, settings, limit)

    with linked(address) as link:
        return retried(listed)


def debts(settings: Settings, address: Address, user: str | None) -> list[Debt]:
    """What prepaid users owe for closed months, by user and day."""

    def found() -> list[Debt]:
        with transaction(link.connection) as connection:
            return listed(connection, settings, user)

    with linked(address) as link:
        return retried(found)


def covered_until(settings: Settings, address: Address) -> date | None:
    """The last day of the furthest run that is done, by the log; None before the first. Raises PreflightError."""

    def looked() -> date | None:
        with transaction(link.connection) as connection:
            return runlog.done_until(connection, settings, clock.today(connection))

    with linked(address) as link:
        return retried(looked)


def own_schema(settings: Settings) -> str:
    """The DDL of the job's own tables."""
    return schema.script(schema.ddl(settings))


def view_for_users(settings: Settings) -> str:
    """The statements of the view for signed-in users."""
    return schema.script(user_view.script(settings))


def grants(settings: Settings, address: Address, role: str) -> str:
    """The statements that make a role of the job's own, for the database as it is."""
    with linked(address) as link:
        return schema.script(retried(lambda: privileges.script(link.connection, settings, role)))


def apply_schema(settings: Settings, address: Address, *, role: str | None = None, with_view: bool = False) -> str:
    """Runs what `schema` prints, all of it or nothing, and returns it: the job's own tables, or a role, or the view."""

    def applied() -> str:
        if role is not None:
            statements = privileges.script(link.connection, settings, role)
        elif with_view:
            statements = user_view.script(settings)
        else:
            # The walls take back what the view needs, and a new meter is one of its columns.
            kept = user_view.script(settings) if user_view.exists(link.connection, settings) else []
            statements = [*schema.ddl(settings), *kept]
        schema.apply(link.connection, statements)
        return schema.script(statements)

    with linked(address) as link:
        return retried(applied)
