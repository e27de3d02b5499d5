"""`usage-jobs check`: the connection, the findings of the preflight, and the days that the next run would cover."""

from collections.abc import Iterator
from datetime import timedelta

from jobs.domain.errors import UsageJobsError
from jobs.pipeline.planning import make_scope
from jobs.postgres import performance_checks, preflight, server_clock, source_checks
from jobs.postgres.connections import Connection, open_link, transaction
from jobs.postgres.conninfo import Address
from jobs.postgres.errors import retry
from jobs.postgres.findings import Finding
from jobs.postgres.usage_reader import DIRECT, SESSION, choose_reader, describe_pooler
from jobs.settings import Settings


def check(settings: Settings, address: Address) -> list[Finding]:
    """Every finding about the connection, the database and the next run, and the unknown ids that usage refers to."""

    def find() -> list[Finding]:
        about_connection = list(_check_connection(link.connection, settings, address))
        with transaction(link.connection) as connection:
            return [*about_connection, *_check_database(connection, settings)]

    with open_link(address) as link:
        return retry(find)


def _check_connection(connection: Connection, settings: Settings, address: Address) -> Iterator[Finding]:
    """How the database is reached, and which reader will read usage."""
    pool = describe_pooler(address, connection)
    yield Finding("ok", "connection", "a server, or a pooler", pool)
    found = "on" if connection.pgconn.ssl_in_use else "off"
    found += f" (sslmode={address.parts.get('sslmode', 'prefer')})"
    if address.warning is None:  # the server is verified, or it is this machine
        yield Finding("ok", "TLS", "as the address says", found)
    else:
        expected, consequence = "on, the server's certificate verified", "Another server could answer"
        yield Finding("note", "TLS", expected, found, consequence, address.warning)
    reader = choose_reader(settings.reader, address, pooled=pool not in (DIRECT, SESSION))
    yield Finding("ok", "reader", f"reader = {settings.reader!r}", reader)


def _check_database(connection: Connection, settings: Settings) -> Iterator[Finding]:
    source, findings = preflight.inspect_source(connection, settings, thorough=True)
    yield from findings
    if any(finding.level == "refused" for finding in findings):
        return
    writes = settings.cost == "rated" or source.credits.writes_deducted
    yield from performance_checks.check_performance(connection, settings, writes=writes)
    today = server_clock.today(connection)
    try:
        scope = make_scope(connection, settings, source, None, today)
    except UsageJobsError as error:
        yield Finding("refused", "the next run", "start, rates, a price for every day", str(error))
        return
    yield Finding("ok", "the next run", "open months", f"{scope.window.first} to {scope.window.last}")
    for note in scope.notes:
        yield Finding("note", "the next run", "nothing to note", note)
    for meter in source.meters:
        since = scope.query.since.get(meter.name)
        if since is None or since > scope.window.first:
            found = f"none before {since}" if since else "none"
            subject = f"card of {meter.name} (optional meter)"
            yield Finding("note", subject, "a price for every day", found, "Left out on the days without one")
    yield from source_checks.find_unknown_ids(connection, settings, source, today - timedelta(days=31))
