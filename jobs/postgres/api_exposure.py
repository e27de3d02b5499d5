"""Checks whether the REST API could expose the job's tables: exposed schemas, API roles, and views over the tables."""

from collections.abc import Iterator

from psycopg.rows import dict_row

from jobs.postgres import user_view
from jobs.postgres.connections import Connection
from jobs.postgres.findings import Finding
from jobs.postgres.sql_loader import compose
from jobs.settings import Settings

SAFE = "not exposed"


def check_exposure(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """Yields one note per way to reach the tables, or one "ok". Runs in the caller's transaction."""
    schema, subject = settings.rollup_schema, f"schema {settings.rollup_schema}, exposure"
    names = {"own": schema, "view_schema": settings.source_schema, "view": user_view.NAME}
    with connection.cursor(row_factory=dict_row) as cursor:
        exposure = cursor.execute(compose("preflight.exposure"), names).fetchone() or {}
    notes = []
    for setting in exposure["exposed"]:
        role, _, listed = setting.partition(" ")
        if schema in [name.strip() for name in listed.split(",")]:
            remedy = (
                f"Take {schema} out of the exposed schemas (Supabase: API settings), or of pgrst.db_schemas of {role}"
            )
            notes.append((subject, f"in the REST API's schemas ({listed})", "It serves these tables", remedy))
    for role in exposure["roles"]:
        found = f"role {role} may use the schema"
        notes.append((subject, found, "The REST API acts as this role", "Run: usage-jobs schema --apply"))
    for view in exposure["views"]:
        remedy = f"ALTER VIEW {view} SET (security_invoker = true); a materialized view: revoke it from API roles"
        found = "reads our tables with its owner's rights"
        notes.append((f"view {view}", found, "Row-level security does not apply to its readers", remedy))
    for what, found, consequence, remedy in notes:
        yield Finding("note", what, SAFE, found, consequence, remedy)
    if not notes:
        yield Finding("ok", subject, SAFE, SAFE)
