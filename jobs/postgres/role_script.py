"""Makes the script of a role with least privilege: the grants that the job needs, and no more.

GRANT and CREATE POLICY are composed: they list columns and privileges, and take no bound values.
"""

import hashlib
from collections.abc import Iterable, Iterator

from psycopg import sql

from jobs.domain.errors import ConfigError, PreflightError
from jobs.domain.tables import tables
from jobs.domain.wording import MOST_BYTES
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.findings import list_privileges
from jobs.postgres.needs import Needs, read_needs
from jobs.postgres.sql_loader import compose, raw
from jobs.settings import Settings

MARK = "usage-jobs: what this role may do is set by `usage-jobs schema --role`"
"""The comment on each role that this command has created, or that was handed over to it."""


def role_statements(connection: Connection, settings: Settings, role: str) -> list[sql.Composed]:
    """Returns the statements that create the login role ``role`` and give it exactly the privileges that the job needs.

    Raises PreflightError where the job's own tables do not exist yet; ConfigError for a role of another program.
    """
    with transaction(connection) as opened:
        _check_role(opened, role)
        needs = read_needs(opened, settings)
    wanted = [(settings.rollup_schema, table.name) for table in tables(settings.meters)]
    for table in (*wanted, (settings.source_schema, "usage_daily")):
        if table not in needs.rights:
            raise PreflightError(
                f"--role {role}: expected the tables that it is to be granted; found no {'.'.join(table)}. First: "
                "usage-jobs schema --apply"
            )
    schemas = {settings.source_schema: None, settings.rollup_schema: None}
    schemas |= dict.fromkeys(sorted(effect.schema for effect in needs.effects))
    name, quoted = sql.Identifier(role), sql.Literal(role)
    database = sql.Identifier(needs.catalog.server["database"])
    return [
        compose("privileges.make_role", role=name, quoted=quoted, mark=sql.Literal(MARK)),
        compose("privileges.narrow_role", role=name, quoted=quoted, schemas=sql.Literal(list(schemas))),
        sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(database, name),
        *(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), name) for schema in schemas),
        *_grant_statements(needs, role),
    ]


def _check_role(connection: Connection, role: str) -> None:
    """Raises ConfigError for a role without our comment: another program may need its privileges."""
    row = connection.execute(compose("privileges.comment_on_role"), [role]).fetchone()
    if row is not None and row[0] != MARK:
        hand_over = sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(role), sql.Literal(MARK))
        raise ConfigError(
            f"--role {role}: expected a new role, or one that this command has made; found another role, "
            f"whose privileges would be revoked. Name another, or hand it over: {hand_over.as_string(None)}"
        )


def _grant_statements(needs: Needs, role: str) -> Iterator[sql.Composed]:
    """Yields the grants; where row-level security is on, also policies that allow them on all rows."""
    protected = {name for name, security in needs.catalog.row_security.items() if security.is_on}
    for (schema, table), rights in needs.rights.items():
        place = sql.Identifier(schema, table)
        quoted = {right: [sql.Identifier(name).as_string(None) for name in names] for right, names in rights.items()}
        yield _grant(list_privileges(quoted), place, role)
        yield from _policies(place, rights, role) if table in protected else ()
    for effect in needs.effects:
        place = sql.Identifier(effect.schema, effect.name)
        if effect.kind != "SCHEMA":
            yield _grant(", ".join(sorted(effect.rights)), place, role, f"{effect.kind} ")
            yield from _policies(place, sorted(effect.rights), role) if effect.is_on else ()


def _grant(rights: str, place: sql.Identifier, role: str, kind: str = "") -> sql.Composed:
    return sql.SQL("GRANT {} ON {}{} TO {}").format(raw(rights), raw(kind), place, sql.Identifier(role))


def _policies(place: sql.Identifier, actions: Iterable[str], role: str) -> Iterator[sql.Composed]:
    checks = {"INSERT": "WITH CHECK (true)", "UPDATE": "USING (true) WITH CHECK (true)"}
    for action in actions:
        # Each role has its own policy, so that a second role does not replace the first one's.
        name = f"usage_jobs_{action.lower()}_{role}"
        if len(name.encode()) > MOST_BYTES:
            name = f"usage_jobs_{action.lower()}_{hashlib.sha256(role.encode()).hexdigest()[:32]}"
        yield sql.SQL("DROP POLICY IF EXISTS {} ON {}").format(sql.Identifier(name), place)
        yield sql.SQL("CREATE POLICY {} ON {} FOR {} TO {} {}").format(
            sql.Identifier(name), place, raw(action), sql.Identifier(role), raw(checks.get(action, "USING (true)"))
        )
