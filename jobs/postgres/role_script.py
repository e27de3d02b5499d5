"""Makes the script of a role with least privilege: the grants that the job needs, and no more.

GRANT and CREATE POLICY are composed: they list columns and privileges, and take no bound values.
"""

import hashlib
from collections.abc import Iterator, Sequence

from psycopg import sql

from jobs.domain.errors import ConfigError, PreflightError
from jobs.domain.names import MOST_BYTES
from jobs.postgres.catalog import RowSecurity
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.required_columns import own_rights
from jobs.postgres.requirements import Effect, Requirements, read_requirements
from jobs.postgres.schema import tables
from jobs.postgres.sql_loader import app_table, column_list, compose, job_table, raw
from jobs.settings import Settings

MARK = "usage-jobs: what this role may do is set by `usage-jobs schema --role`"
"""The comment on each role that this command has created, or that was handed over to it."""


def role_statements(connection: Connection, settings: Settings, role: str) -> list[sql.Composed]:
    """Returns the statements that create the login role ``role`` and give it exactly the privileges that the job needs.

    Raises PreflightError where the job's own tables do not exist yet; ConfigError for a role of another program.
    """
    with transaction(connection) as opened:
        _check_role(opened, role)
        needs = read_requirements(opened, settings)
    wanted = [(settings.rollup_schema, table.name, needs.known.own) for table in tables(settings.meters)]
    for schema, table, existing in (*wanted, (settings.source_schema, "usage_daily", needs.known.source)):
        if table not in existing:
            raise PreflightError(
                f"--role {role}: expected the tables that it is to be granted; found no {schema}.{table}. First: "
                "usage-jobs schema --apply"
            )
    schemas = {settings.source_schema: None, settings.rollup_schema: None}
    schemas |= dict.fromkeys(sorted(effect.schema for effect in needs.effects))
    name, quoted = sql.Identifier(role), sql.Literal(role)
    return [
        compose("privileges.make_role", role=name, quoted=quoted, mark=sql.Literal(MARK)),
        compose("privileges.narrow_role", role=name, quoted=quoted, schemas=sql.Literal(list(schemas))),
        sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(
            sql.Identifier(needs.known.server["database"]), name
        ),
        *(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), name) for schema in schemas),
        *_grant_statements(needs, settings, role),
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


def _grant_statements(needs: Requirements, settings: Settings, role: str) -> Iterator[sql.Composed]:
    """Yields grants, and policies where row-level security is on, for each table and sequence."""
    name, known = sql.Identifier(role), needs.known
    for source, columns in needs.columns_by_right.items():
        place = app_table(settings, source)
        listed = [sql.SQL("{} ({})").format(raw(right), column_list(names)) for right, names in columns.items()]
        yield sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(", ").join(listed), place, name)
        yield from _policy_statements(place, list(columns), role, known.row_security.get(source))
    for own in (table.name for table in tables(settings.meters)):
        place, rights = job_table(settings, own), own_rights(own)
        yield sql.SQL("GRANT {} ON {} TO {}").format(raw(", ".join(rights)), place, name)
        yield from _policy_statements(place, rights, role, known.row_security.get(own))
    for effect in needs.effects:
        if effect.kind != "SCHEMA":
            place, rights = sql.Identifier(effect.schema, effect.name), tuple(sorted(effect.rights))
            yield sql.SQL("GRANT {} ON {} {} TO {}").format(raw(", ".join(rights)), raw(effect.kind), place, name)
            yield from _policy_statements(place, rights, role, effect)


def _policy_statements(
    table: sql.Identifier, actions: Sequence[str], role: str, security: RowSecurity | Effect | None
) -> Iterator[sql.Composed]:
    """Yields policies that allow the role ``actions`` on all rows, where row-level security is on."""
    for action in actions if security is not None and security.is_on else ():
        # Each role has its own policy, so that a second role does not replace the first one's.
        name = f"usage_jobs_{action.lower()}_{role}"
        if len(name.encode()) > MOST_BYTES:
            name = f"usage_jobs_{action.lower()}_{hashlib.sha256(role.encode()).hexdigest()[:32]}"
        policy = sql.Identifier(name)
        yield sql.SQL("DROP POLICY IF EXISTS {} ON {}").format(policy, table)
        checks = {"INSERT": "WITH CHECK (true)", "UPDATE": "USING (true) WITH CHECK (true)"}
        yield sql.SQL("CREATE POLICY {} ON {} FOR {} TO {} {}").format(
            policy, table, raw(action), sql.Identifier(role), raw(checks.get(action, "USING (true)"))
        )
