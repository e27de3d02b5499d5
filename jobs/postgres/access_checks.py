"""Checks who could reach more than the job needs: this role by its privileges, others by the REST API.

`check` shows these findings; they never prevent a run.
"""

from collections import defaultdict
from collections.abc import Iterator

from jobs.postgres.connections import Connection, read_dicts, read_value, transaction
from jobs.postgres.findings import Finding, grant, list_privileges
from jobs.postgres.needs import read_needs
from jobs.postgres.people import Person, find_hidden_columns
from jobs.postgres.schema_script import VIEW
from jobs.postgres.sql_loader import app_table
from jobs.settings import Settings

TOO_MUCH = "More than the job needs: a stolen password would give all of it"
OWN_ROLE = "usage-jobs schema --role NAME prints a role that may do only what the job does"
SAFE = "not exposed"


def find_excess_privileges(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """Yields the privileges of this role that the job does not need: a note per table, or one note for an owner."""
    schemas = [settings.source_schema, settings.rollup_schema]
    with transaction(connection) as opened:
        [attributes] = read_dicts(opened, "privileges.role", schemas=schemas)
        granted = read_dicts(opened, "privileges.privileges", schemas=schemas)
        needs = read_needs(opened, settings)
    server = needs.catalog.server
    if attributes["bypasses"]:
        found = ", ".join(attributes["bypasses"])
        yield Finding("note", f"role {server['role']}", "a role of the job's own", found, TOO_MUCH, OWN_ROLE)
    if attributes["owns_all"]:
        return
    indirect = {(effect.schema, effect.name, right) for effect in needs.effects for right in effect.rights}
    excess: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in granted:
        schema, table, right = row["schema"], row["table"], row["right"]
        columns = needs.rights.get((schema, table), {}).get(right)
        is_needed = columns is not None and (not columns or row["column"] in columns)
        is_needed |= (table, right) == ("users", "SELECT") and row["column"] in Person._fields
        if not is_needed and (schema, table, right) not in indirect:
            excess[f"{schema}.{table}", row["place"]][right] += [row["quoted"]] if row["quoted"] else []
    for (table, place), rights in excess.items():
        found = list_privileges(rights)
        revoke = f"REVOKE {found} ON {place} FROM {server['quoted_role']};"
        remedy = f"{revoke} Or revoke it from the role that passes it on. {OWN_ROLE}"
        yield Finding("note", f"privileges on {table}", "only what the job does", found, TOO_MUCH, remedy)


def check_names(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """Yields a note where this role may not read names and e-mail addresses. Runs in the caller's transaction."""
    if hidden := find_hidden_columns(connection, settings):
        users = app_table(settings, "users").as_string(None)
        expected, found = "the privilege SELECT on them, for files that people read", f"no SELECT ({', '.join(hidden)})"
        consequence = "Exports, statements and reports have ids only, which is fine where nobody needs names"
        remedy = grant(["SELECT"], users, read_value(connection, "SELECT quote_ident(current_user)"), *hidden)
        yield Finding("note", "names and e-mail addresses of users", expected, found, consequence, remedy)


def check_exposure(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """Yields one note per way to reach the tables over the REST API (an exposed schema, an API role, a view), or one
    "ok". Runs in the caller's transaction."""
    schema, subject = settings.rollup_schema, f"schema {settings.rollup_schema}, exposure"
    names = {"own": schema, "view_schema": settings.source_schema, "view": VIEW}
    [exposure] = read_dicts(connection, "preflight.exposure", **names)
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
    yield from (Finding("note", what, SAFE, *rest) for what, *rest in notes)
    if not notes:
        yield Finding("ok", subject, SAFE, SAFE)
