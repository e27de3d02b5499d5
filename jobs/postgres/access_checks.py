"""Checks who could reach more than the job needs: this role by its privileges, others by the REST API.

`check` shows these findings; they never prevent a run.
"""

from collections import defaultdict
from collections.abc import Iterator

from jobs.postgres.connections import Connection, read_dicts
from jobs.postgres.findings import Finding, grant, list_privileges
from jobs.postgres.needs import Needs
from jobs.postgres.people import Person
from jobs.postgres.schema_script import VIEW
from jobs.settings import Settings

TOO_MUCH = "More than the job needs: a stolen password would give all of it"
OWN_ROLE = "usage-jobs schema --role NAME prints a role that may do only what the job does"
SAFE = "not exposed"


def check_access(connection: Connection, settings: Settings, needs: Needs) -> Iterator[Finding]:
    """Yields every finding about access. Needs an open transaction."""
    yield from _find_excess_privileges(connection, settings, needs)
    yield from _check_names(needs)
    yield from _check_exposure(connection, settings)


def _find_excess_privileges(connection: Connection, settings: Settings, needs: Needs) -> Iterator[Finding]:
    """Yields the privileges of this role that the job does not need: a note per table, or one note for an owner."""
    server, schemas = needs.catalog.server, [settings.source_schema, settings.rollup_schema]
    [attributes] = read_dicts(connection, "privileges.role", schemas=schemas)
    if attributes["bypasses"]:
        found = ", ".join(attributes["bypasses"])
        yield Finding("note", f"role {server['role']}", "a role of the job's own", found, TOO_MUCH, OWN_ROLE)
    if attributes["owns_all"]:
        return
    indirect = {(effect.schema, effect.name, right) for effect in needs.effects for right in effect.rights}
    excess: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in read_dicts(connection, "privileges.privileges", schemas=schemas):
        schema, table, right, column = row["schema"], row["table"], row["right"], row["column"]
        columns = needs.rights.get((schema, table), {}).get(right)
        is_needed = columns is not None and (not columns or column in columns)
        is_of_people = (table, right) == ("users", "SELECT") and column in Person._fields
        if not is_needed and not is_of_people and (schema, table, right) not in indirect:
            excess[f"{schema}.{table}", row["place"]][right] += [row["quoted"]] if row["quoted"] else []
    for (table, place), rights in excess.items():
        found = list_privileges(rights)
        revoke = f"REVOKE {found} ON {place} FROM {server['quoted_role']};"
        remedy = f"{revoke} Or revoke it from the role that passes it on. {OWN_ROLE}"
        yield Finding("note", f"privileges on {table}", "only what the job does", found, TOO_MUCH, remedy)


def _check_names(needs: Needs) -> Iterator[Finding]:
    """Yields a note where this role may not read names and e-mail addresses."""
    users, role = needs.catalog.source.get("users", {}), needs.catalog.server["quoted_role"]
    columns = [column for name, column in users.items() if name in ("id", *Person._fields)]
    if hidden := [column.quoted for column in columns if "SELECT" not in column.rights]:
        expected, found = "the privilege SELECT on them, for files that people read", f"no SELECT ({', '.join(hidden)})"
        consequence = "Exports, statements and reports have ids only, which is fine where nobody needs names"
        remedy = grant(["SELECT"], columns[0].place, role, *hidden)
        yield Finding("note", "names and e-mail addresses of users", expected, found, consequence, remedy)


def _check_exposure(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """Yields one note per way to reach the tables over the REST API (an exposed schema, an API role, a view), or one
    "ok"."""
    schema, subject, notes = settings.rollup_schema, f"schema {settings.rollup_schema}, exposure", []
    names = {"own": schema, "view_schema": settings.source_schema, "view": VIEW}
    [exposure] = read_dicts(connection, "preflight.exposure", **names)
    for setting in exposure["exposed"]:
        role, _, listed = setting.partition(" ")
        if schema in [name.strip() for name in listed.split(",")]:
            found, consequence = f"in the REST API's schemas ({listed})", "It serves these tables"
            remedy = (
                f"Take {schema} out of the exposed schemas (Supabase: API settings), or of pgrst.db_schemas of {role}"
            )
            notes.append(Finding("note", subject, SAFE, found, consequence, remedy))
    for role in exposure["roles"]:
        found, consequence = f"role {role} may use the schema", "The REST API acts as this role"
        notes.append(Finding("note", subject, SAFE, found, consequence, "Run: usage-jobs schema --apply"))
    for view in exposure["views"]:
        found, consequence = (
            "reads our tables with its owner's rights",
            "Row-level security does not apply to its readers",
        )
        remedy = f"ALTER VIEW {view} SET (security_invoker = true); a materialized view: revoke it from API roles"
        notes.append(Finding("note", f"view {view}", SAFE, found, consequence, remedy))
    yield from notes or [Finding("ok", subject, SAFE, SAFE)]
