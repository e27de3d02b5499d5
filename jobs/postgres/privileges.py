"""Least privilege: the grants that a role needs for the job, and the privileges that it has beyond these.

GRANT, REVOKE and CREATE POLICY are composed: they list columns and privileges, and take no bound values.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from psycopg import sql
from psycopg.rows import dict_row

from jobs.domain.errors import ConfigError, PreflightError
from jobs.domain.names import MOST_BYTES
from jobs.postgres import catalog, side_effects
from jobs.postgres.catalog import Catalog
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.findings import Finding
from jobs.postgres.required_columns import ColumnRequirement, column_requirements, own_rights
from jobs.postgres.schema import tables
from jobs.postgres.sql_loader import app_table, column_list, compose, job_table
from jobs.settings import Settings

MARK = "usage-jobs: what this role may do is set by `usage-jobs schema --role`"
"""The comment on each role that this command has created, or that was handed over to it."""


def role_script(connection: Connection, settings: Settings, role: str) -> list[sql.Composed]:
    """Returns the statements that create the login role ``role`` and give it exactly the privileges that the job needs.

    Raises PreflightError where the job's own tables do not exist yet; ConfigError for a role of another program.
    """
    with transaction(connection) as opened:
        _check_role(opened, role)
        known = catalog.read_catalog(opened, settings, [table.name for table in tables(settings.meters)])
        effects = side_effects.read_side_effects(opened, settings, known, column_requirements(known, settings))
    absent = [table.name for table in tables(settings.meters) if table.name not in known.own]
    if absent or "usage_daily" not in known.source:
        missing = f"{settings.rollup_schema}.{absent[0]}" if absent else f"{settings.source_schema}.usage_daily"
        raise PreflightError(
            f"--role {role}: expected the tables that it is to be granted; found no {missing}. First: "
            "usage-jobs schema --apply"
        )
    name, schemas = sql.Identifier(role), [settings.source_schema, settings.rollup_schema]
    schemas += sorted({effect.schema for effect in effects} - set(schemas))
    made = [
        compose("privileges.make_role", role=name, quoted=sql.Literal(role), mark=sql.Literal(MARK)),
        compose("privileges.narrow_role", role=name, quoted=sql.Literal(role), schemas=sql.Literal(schemas)),
        sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(sql.Identifier(known.server["database"]), name),
    ]
    made += [sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), name) for schema in schemas]
    secured = {table for table, security in known.source_row_security.items() if security.is_on}
    for table, rights in _needed_columns(known, settings).items():
        made.append(_grant_statement(app_table(settings, table), name, rights))
        made += _policy_statements(app_table(settings, table), table in secured, list(rights), role)
    own_secured = {table for table, security in known.own_row_security.items() if security.is_on}
    for of in tables(settings.meters):
        allowed = own_rights(of.name)
        made.append(sql.SQL("GRANT {} ON {} TO {}").format(_join_rights(allowed), job_table(settings, of.name), name))
        made += _policy_statements(job_table(settings, of.name), of.name in own_secured, allowed, role)
    for effect in effects:
        if effect.kind == "SCHEMA":
            continue
        place, actions = sql.Identifier(effect.schema, effect.name), sorted(effect.rights)
        made.append(sql.SQL("GRANT {} ON {} {} TO {}").format(_join_rights(actions), _raw(effect.kind), place, name))
        made += _policy_statements(place, effect.is_on, actions, role)
    return made


def _check_role(connection: Connection, role: str) -> None:
    """Raises ConfigError for a role without our comment: another program may need its privileges."""
    row = connection.execute(compose("privileges.comment_on_role"), [role]).fetchone()
    if row is not None and row[0] != MARK:
        hand_over = sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(role), sql.Literal(MARK))
        raise ConfigError(
            f"--role {role}: expected a new role, or one that this command has made; found another role, "
            f"whose privileges would be revoked. Name another, or hand it over: {hand_over.as_string(None)}"
        )


def _needed_columns(known: Catalog, settings: Settings) -> dict[str, dict[str, list[str]]]:
    """Returns the columns that the job needs, by table of the application and privilege."""
    wanted: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for need in _existing_requirements(known, settings):
        for right in need.rights:
            if need.column not in wanted[need.table][right]:
                wanted[need.table][right].append(need.column)
    return wanted


def _existing_requirements(known: Catalog, settings: Settings) -> Iterator[ColumnRequirement]:
    yield from (
        need for need in column_requirements(known, settings) if need.column in known.source.get(need.table, {})
    )


def _grant_statement(table: sql.Identifier, role: sql.Identifier, rights: Mapping[str, list[str]]) -> sql.Composed:
    parts = [sql.SQL("{} ({})").format(_join_rights([right]), column_list(names)) for right, names in rights.items()]
    return sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(", ").join(parts), table, role)


def _join_rights(rights: Sequence[str]) -> sql.Composed:
    known = {right: sql.SQL(right) for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "USAGE")}
    return sql.SQL(", ").join(known[right] for right in rights)


def _policy_statements(table: sql.Identifier, is_on: bool, actions: Sequence[str], role: str) -> Iterator[sql.Composed]:
    """Yields policies that allow the role ``actions`` on all rows, where row-level security is on."""
    for action in actions if is_on else ():
        # Each role has its own policy, so that a second role does not replace the first one's.
        policy = sql.Identifier(_policy_name(action, role))
        yield sql.SQL("DROP POLICY IF EXISTS {} ON {}").format(policy, table)
        checks = {"INSERT": "WITH CHECK (true)", "UPDATE": "USING (true) WITH CHECK (true)"}
        yield sql.SQL("CREATE POLICY {} ON {} FOR {} TO {} {}").format(
            policy, table, _join_rights([action]), sql.Identifier(role), _raw(checks.get(action, "USING (true)"))
        )


def _policy_name(action: str, role: str) -> str:
    name = f"usage_jobs_{action.lower()}_{role}"
    if len(name.encode()) <= MOST_BYTES:
        return name
    return f"usage_jobs_{action.lower()}_{hashlib.sha256(role.encode()).hexdigest()[:32]}"


def _raw(text: str) -> sql.Composed:
    return sql.Composed([sql.SQL(text)])


def find_excess_privileges(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """Yields the privileges of this role that the job does not need: a note per table, or one note for an owner."""
    with transaction(connection) as opened, opened.cursor(row_factory=dict_row) as cursor:
        known = catalog.read_catalog(opened, settings, [table.name for table in tables(settings.meters)])
        names = {"schemas": [settings.source_schema, settings.rollup_schema]}
        attributes = cursor.execute(compose("privileges.role"), names).fetchone() or {}
        granted = cursor.execute(compose("privileges.privileges"), names).fetchall()
        effects = side_effects.read_side_effects(opened, settings, known, column_requirements(known, settings))
    role, more = known.server["role"], "More than the job needs: a stolen password would give all of it"
    narrow = "usage-jobs schema --role NAME prints a role that may do only what the job does"
    if attributes["bypasses"]:
        found = ", ".join(attributes["bypasses"])
        yield Finding("note", f"role {role}", "a role of the job's own", found, more, narrow)
    if attributes["owns_all"]:
        return
    wanted = _needed_columns(known, settings)
    set_off = {(effect.schema, effect.name, right) for effect in effects for right in effect.rights}
    spare: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in granted:
        schema, table, column, right = row["schema"], row["table"], row["column"], row["right"]
        if schema == settings.rollup_schema:
            needed = table in known.own and right in own_rights(table)
        else:
            needed = column is not None and column in wanted.get(table, {}).get(right, [])
        if not needed and (schema, table, right) not in set_off:
            spare[f"{schema}.{table}", row["place"]][right] += [row["quoted"]] if column else []
    for (table, place), rights in spare.items():
        words = [f"{right} ({', '.join(names)})" if names else right for right, names in rights.items()]
        found = ", ".join(words)
        revoke = f"REVOKE {found} ON {place} FROM {known.server['quoted_role']};"
        remedy = f"{revoke} Or revoke it from the role that passes it on. {narrow}"
        yield Finding("note", f"privileges on {table}", "only what the job does", found, more, remedy)
