"""What a command is, and what it gets to work with.

``@command`` makes one of a function. Its name, help, an example and its options stand above the function, which does
the work and returns what is shown. ``arguments`` collects the commands of all modules.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from jobs.domain.errors import ConfigError

if TYPE_CHECKING:  # slow to import, and --help needs none of it
    from argparse import Namespace
    from contextlib import ExitStack
    from datetime import datetime

    from jobs.cli.options import Option
    from jobs.cli.output import Result
    from jobs.postgres.conninfo import Address
    from jobs.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """The arguments of a command and what it needs of its process.

    ``scrub`` removes passwords from a text. ``who``: the user and host, for the run log. ``ends``: what is closed after
    the command.
    """

    arguments: Namespace
    clock: Callable[[], datetime]
    scrub: Callable[[str], str]
    who: str
    ends: ExitStack

    @cached_property
    def settings(self) -> Settings:
        """The settings of --config, of the environment and of the files. Raises ConfigError."""
        from jobs.settings import load

        return load(self.arguments.config, os.environ, Path.cwd())

    @cached_property
    def address(self) -> Address:
        """The address of the database; an embedded server runs from here to the end. Raises ConfigError.

        It may print a warning: read it before a progress bar is shown, and after the options are checked.
        """
        from jobs.demo.server import run_server
        from jobs.postgres.conninfo import Address

        if self.settings.embedded is not None:
            return Address(self.ends.enter_context(run_server(self.settings.embedded)))
        if self.settings.address is None:
            raise ConfigError(
                "no database: expected DATABASE_URL (or SUPABASE_PROJECT_REF, SUPABASE_DB_PASSWORD and "
                "SUPABASE_REGION) in the environment or in .env.local; found none. To only try the job: usage-jobs demo"
            )
        address = Address(self.settings.address)
        for warning in filter(None, (self.settings.warning, address.warning)):
            print(f"usage-jobs: WARNING: {warning}", file=sys.stderr)
        return address

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
    run: Callable[[Call], Result | None]


def command(
    name: str, text: str, example: str, *options: Option
) -> Callable[[Callable[[Call], Result | None]], Command]:
    """Makes a command of a function. ``text``: what it does; ``example``: a command line, for --help."""
    return lambda run: Command(name, text, example, options, run)
