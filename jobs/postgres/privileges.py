"""Least privilege: what a role needs for the job and no more, as grants, and beside what this role has."""

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
"""The comment on each role that we have made, or that was handed over to us."""


def role_script(connection: Connection, settings: Settings, role: str) -> list[sql.Composed]:
    """Statements that make the login role ``role`` able to do exactly what the job does in this database.

    Raises PreflightError where the job's own tables do not exist yet; ConfigError for a role that is another program's.
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
    walled = {table for table, wall in known.source_walls.items() if wall.on}
    for table, rights in _wanted(known, settings).items():
        made.append(_grant(app_table(settings, table), name, rights))
        made += _policies(app_table(settings, table), table in walled, list(rights), role)
    own_walled = {table for table, wall in known.own_walls.items() if wall.on}
    for of in tables(settings.meters):
        allowed = own_rights(of.name)
        made.append(sql.SQL("GRANT {} ON {} TO {}").format(_words(allowed), job_table(settings, of.name), name))
        made += _policies(job_table(settings, of.name), of.name in own_walled, allowed, role)
    for effect in effects:
        if effect.kind == "SCHEMA":
            continue
        place, actions = sql.Identifier(effect.schema, effect.name), sorted(effect.rights)
        made.append(sql.SQL("GRANT {} ON {} {} TO {}").format(_words(actions), _raw(effect.kind), place, name))
        made += _policies(place, effect.is_on, actions, role)
    return made


def _check_role(connection: Connection, role: str) -> None:
    """ConfigError for a role that we have not made: another program may live by what it has been granted."""
    row = connection.execute(compose("privileges.comment_on_role"), [role]).fetchone()
    if row is not None and row[0] != MARK:
        hand_over = sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(role), sql.Literal(MARK))
        raise ConfigError(
            f"--role {role}: expected a new role, or one that this command has made; found a role of somebody else, "
            f"whose privileges would be taken away. Name another, or hand it over: {hand_over.as_string(None)}"
        )


def _wanted(known: Catalog, settings: Settings) -> dict[str, dict[str, list[str]]]:
    """By table of the application and right: the columns."""
    wanted: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for need in _existing(known, settings):
        for right in need.rights:
            if need.column not in wanted[need.table][right]:
                wanted[need.table][right].append(need.column)
    return wanted


def _existing(known: Catalog, settings: Settings) -> Iterator[ColumnRequirement]:
    yield from (
        need for need in column_requirements(known, settings) if need.column in known.source.get(need.table, {})
    )


def _grant(table: sql.Identifier, role: sql.Identifier, rights: Mapping[str, list[str]]) -> sql.Composed:
    parts = [sql.SQL("{} ({})").format(_words([right]), column_list(names)) for right, names in rights.items()]
    return sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(", ").join(parts), table, role)


def _words(rights: Sequence[str]) -> sql.Composed:
    known = {right: sql.SQL(right) for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "USAGE")}
    return sql.SQL(", ").join(known[right] for right in rights)


def _policies(table: sql.Identifier, is_on: bool, actions: Sequence[str], role: str) -> Iterator[sql.Composed]:
    """Where row-level security is on, the role passes it for these actions, and for all rows."""
    for action in actions if is_on else ():
        # Each role has its own: a second one must not take the first one's away.
        policy = sql.Identifier(_policy(action, role))
        yield sql.SQL("DROP POLICY IF EXISTS {} ON {}").format(policy, table)
        checks = {"INSERT": "WITH CHECK (true)", "UPDATE": "USING (true) WITH CHECK (true)"}
        yield sql.SQL("CREATE POLICY {} ON {} FOR {} TO {} {}").format(
            policy, table, _words([action]), sql.Identifier(role), _raw(checks.get(action, "USING (true)"))
        )


def _policy(action: str, role: str) -> str:
    name = f"usage_jobs_{action.lower()}_{role}"
    if len(name.encode()) <= MOST_BYTES:
        return name
    return f"usage_jobs_{action.lower()}_{hashlib.sha256(role.encode()).hexdigest()[:32]}"


def _raw(text: str) -> sql.Composed:
    return sql.Composed([sql.SQL(text)])


def excess_privileges(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """What this role may do beyond the job's needs: a note per table, or one where it may do everything."""
    with transaction(connection) as opened, opened.cursor(row_factory=dict_row) as cursor:
        known = catalog.read_catalog(opened, settings, [table.name for table in tables(settings.meters)])
        names = {"schemas": [settings.source_schema, settings.rollup_schema]}
        attributes = cursor.execute(compose("privileges.role"), names).fetchone() or {}
        granted = cursor.execute(compose("privileges.privileges"), names).fetchall()
        effects = side_effects.read_side_effects(opened, settings, known, column_requirements(known, settings))
    role, more = known.server["role"], "More than the job needs: who steals its password has it too"
    narrow = "usage-jobs schema --role NAME prints a role that may do only what the job does"
    if attributes["mighty"]:
        found = ", ".join(attributes["mighty"])
        yield Finding("note", f"role {role}", "a role of the job's own", found, more, narrow)
    if attributes["owns_all"]:
        return
    wanted = _wanted(known, settings)
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
        remedy = f"REVOKE {found} ON {place} FROM {known.server['quoted_role']}; Or from whom it has it of. {narrow}"
        yield Finding("note", f"privileges on {table}", "only what the job does", found, more, remedy)
