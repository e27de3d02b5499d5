"""What a command is, and what it gets to work with.

``@command`` and ``@database_command`` make one of a function. Its name, help, an example and its options stand above
the function, which does the work and returns what is shown. ``arguments`` collects the commands of all modules.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from jobs.domain.errors import ConfigError

if TYPE_CHECKING:  # slow to import, and --help needs none of it
    from argparse import Namespace
    from datetime import datetime

    from jobs.cli.options import Option
    from jobs.cli.output import Result
    from jobs.postgres.conninfo import Address
    from jobs.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of a command and what it needs of its process.

    ``scrub`` removes passwords from a text. ``who``: the user and host, for the run log.
    """

    arguments: Namespace
    clock: Callable[[], datetime]
    scrub: Callable[[str], str]
    who: str

    def load_settings(self) -> Settings:
        """The settings of --config, of the environment and of the files. Raises ConfigError."""
        from jobs.settings import load

        return load(self.arguments.config, os.environ, Path.cwd())

    @contextmanager
    def open_database(self) -> Iterator[DatabaseCall]:
        """Yields the call with settings and the database's address. An embedded server runs as long as the block."""
        from jobs.demo.server import run_server
        from jobs.postgres.conninfo import Address

        settings = self.load_settings()
        with ExitStack() as stack:
            if settings.embedded is not None:
                address = Address(stack.enter_context(run_server(settings.embedded)))
            elif settings.address is None:
                raise ConfigError(
                    "no database: expected DATABASE_URL (or SUPABASE_PROJECT_REF, SUPABASE_DB_PASSWORD and "
                    "SUPABASE_REGION) in the environment or in .env.local; found none. To only try the job: "
                    "usage-jobs demo"
                )
            else:
                address = Address(settings.address)
                for warning in filter(None, (settings.warning, address.warning)):
                    print(f"usage-jobs: WARNING: {warning}", file=sys.stderr)
            yield DatabaseCall(self.arguments, self.clock, self.scrub, self.who, settings, address)


@dataclass(frozen=True, slots=True)
class DatabaseCall(Call):
    """The call of a command that works on the database."""

    settings: Settings
    address: Address

    def query(self, read: Callable[..., T], *values: object) -> T:
        """What ``read`` returns for a connection, the settings and ``values``; tried again after a transient error."""
        from jobs.postgres.connections import query_database

        return query_database(self.address, lambda connection: read(connection, self.settings, *values))


@dataclass(frozen=True, slots=True)
class Command:
    """A command: ``run`` does it and returns what main prints; None: all is printed already."""

    name: str
    text: str
    example: str
    options: tuple[Option, ...]
    needs_database: bool
    run: Callable[[Call], Result | None]


def command(
    name: str, text: str, example: str, *options: Option
) -> Callable[[Callable[[Call], Result | None]], Command]:
    """Makes a command of a function. ``text``: what it does; ``example``: a command line, for --help."""
    return lambda run: Command(name, text, example, options, False, run)


def database_command(
    name: str, text: str, example: str, *options: Option, check: Callable[[Namespace], None] = lambda _: None
) -> Callable[[Callable[[DatabaseCall], Result | None]], Command]:
    """The same of a function that works on the database. ``check``: refuses wrong options before that is opened."""

    def make(run: Callable[[DatabaseCall], Result | None]) -> Command:
        def run_on_database(call: Call) -> Result | None:
            check(call.arguments)
            with call.open_database() as opened:
                return run(opened)

        return Command(name, text, example, options, True, run_on_database)

    return make
