"""What looks without changing anything (check, runs), and what makes the job's own tables (schema --apply)."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from jobs.model.errors import UsageJobsError
from jobs.plan import Plan, planned
from jobs.settings import Settings
from jobs.store import orphans, preflight, readers, runlog, schema
from jobs.store.database import Address, linked
from jobs.store.findings import Finding


def check(settings: Settings, address: Address, today: date) -> list[Finding]:
    """Every finding of the preflight, what the next run would cover, and who usage refers to in vain."""
    reader = readers.chosen(settings.reader, address)
    with linked(address) as link:
        source, findings = preflight.source(link.connection, settings)
        findings = [Finding("ok", "reader", f"reader = {settings.reader!r}", reader), *findings]
        if any(finding.level == "refused" for finding in findings):
            return findings
        try:
            plan = planned(link.connection, settings, source, None, today)
        except UsageJobsError as error:
            return [*findings, Finding("refused", "the next run", "prices for every day", str(error))]
        days = f"{plan.window.first} to {plan.window.last}"
        findings.append(Finding("ok", "the next run", "open months", days))
        findings += [Finding("note", "the next run", "nothing to note", note) for note in plan.notes]
        findings += _without_card(plan)
        since = today - timedelta(days=31)
        return [*findings, *orphans.findings(link.connection, settings, source, since)]


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
    with linked(address) as link:
        return runlog.listed(link.connection, settings, limit)


def apply_schema(settings: Settings, address: Address) -> None:
    """Makes or completes the job's own tables; all of it or nothing."""
    with linked(address) as link:
        schema.apply(link.connection, settings)
