"""Makes and applies the scripts of `usage-jobs schema`: the job's own tables, a role, or the view for users."""

from jobs.postgres import privileges, schema, user_view
from jobs.postgres.connections import open_link
from jobs.postgres.conninfo import Address
from jobs.postgres.errors import retry
from jobs.settings import Settings


def own_schema(settings: Settings) -> str:
    """Returns the DDL of the job's own tables."""
    return schema.script(schema.ddl(settings))


def view_for_users(settings: Settings) -> str:
    """Returns the statements of the view for signed-in users."""
    return schema.script(user_view.view_script(settings))


def grants(settings: Settings, address: Address, role: str) -> str:
    """Returns the statements that create a role for the job, for the present state of the database."""
    with open_link(address) as link:
        return schema.script(retry(lambda: privileges.role_script(link.connection, settings, role)))


def apply_schema(settings: Settings, address: Address, *, role: str | None = None, with_view: bool = False) -> str:
    """Runs the script that `schema` prints, in one transaction, and returns it: own tables, or a role, or the view."""

    def apply_once() -> str:
        if role is not None:
            statements = privileges.role_script(link.connection, settings, role)
        elif with_view:
            statements = user_view.view_script(settings)
        else:
            # revoke_access revokes what the view needs, and a new meter is a new column of it: create it again.
            view = user_view.view_script(settings) if user_view.exists(link.connection, settings) else []
            statements = [*schema.ddl(settings), *view]
        schema.apply(link.connection, statements)
        return schema.script(statements)

    with open_link(address) as link:
        return retry(apply_once)
