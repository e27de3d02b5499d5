"""Makes the script of a role with least privilege: the grants that the job needs, and no more.

GRANT and CREATE POLICY are composed: they list columns and privileges, and take no bound values.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from psycopg import sql

from jobs.domain.errors import ConfigError, PreflightError
from jobs.domain.tables import tables
from jobs.domain.wording import MOST_BYTES
from jobs.postgres.catalog import RowSecurity
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.findings import list_privileges
from jobs.postgres.required_columns import own_rights
from jobs.postgres.requirements import Effect, Requirements, read_requirements
from jobs.postgres.sql_loader import app_table, compose, job_table, raw
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
    security = needs.known.row_security
    for name, columns in needs.rights.items():
        quoted = {right: [sql.Identifier(each).as_string(None) for each in names] for right, names in columns.items()}
        yield from _grant(app_table(settings, name), quoted, role, security.get(name))
    for own in (table.name for table in tables(settings.meters)):
        rights = dict.fromkeys(own_rights(own), ())
        yield from _grant(job_table(settings, own), rights, role, security.get(own))
    for effect in needs.effects:
        if effect.kind != "SCHEMA":
            rights = dict.fromkeys(sorted(effect.rights), ())
            yield from _grant(sql.Identifier(effect.schema, effect.name), rights, role, effect, f"{effect.kind} ")


def _grant(
    place: sql.Identifier,
    rights: Mapping[str, Sequence[str]],
    role: str,
    security: RowSecurity | Effect | None,
    kind: str = "",
) -> Iterator[sql.Composed]:
    """Yields the grant of ``rights``; where row-level security is on, also policies that allow them on all rows."""
    grantee = sql.Identifier(role)
    yield sql.SQL("GRANT {} ON {}{} TO {}").format(raw(list_privileges(rights)), raw(kind), place, grantee)
    for action in rights if security is not None and security.is_on else ():
        # Each role has its own policy, so that a second role does not replace the first one's.
        name = f"usage_jobs_{action.lower()}_{role}"
        if len(name.encode()) > MOST_BYTES:
            name = f"usage_jobs_{action.lower()}_{hashlib.sha256(role.encode()).hexdigest()[:32]}"
        policy = sql.Identifier(name)
        yield sql.SQL("DROP POLICY IF EXISTS {} ON {}").format(policy, place)
        checks = {"INSERT": "WITH CHECK (true)", "UPDATE": "USING (true) WITH CHECK (true)"}
        yield sql.SQL("CREATE POLICY {} ON {} FOR {} TO {} {}").format(
            policy, place, raw(action), grantee, raw(checks.get(action, "USING (true)"))
        )
