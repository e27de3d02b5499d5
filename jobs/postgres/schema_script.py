"""What `usage-jobs schema` prints, and runs with --apply: the job's own tables, a role, or the view for users."""

from jobs.postgres import (
    privileges,
    schema,
    user_view,
)
from jobs.postgres.connections import open_link
from jobs.postgres.conninfo import Address
from jobs.postgres.errors import retry
from jobs.settings import Settings


def own_schema(settings: Settings) -> str:
    """The DDL of the job's own tables."""
    return schema.script(schema.ddl(settings))


def view_for_users(settings: Settings) -> str:
    """The statements of the view for signed-in users."""
    return schema.script(user_view.view_script(settings))


def grants(settings: Settings, address: Address, role: str) -> str:
    """The statements that make a role of the job's own, for the database as it is."""
    with open_link(address) as link:
        return schema.script(retry(lambda: privileges.role_script(link.connection, settings, role)))


def apply_schema(settings: Settings, address: Address, *, role: str | None = None, with_view: bool = False) -> str:
    """Runs what `schema` prints, all of it or nothing, and returns it: the job's own tables, or a role, or the view."""

    def applied() -> str:
        if role is not None:
            statements = privileges.role_script(link.connection, settings, role)
        elif with_view:
            statements = user_view.view_script(settings)
        else:
            # The walls take back what the view needs, and a new meter is one of its columns.
            kept = user_view.view_script(settings) if user_view.exists(link.connection, settings) else []
            statements = [*schema.ddl(settings), *kept]
        schema.apply(link.connection, statements)
        return schema.script(statements)

    with open_link(address) as link:
        return retry(applied)
