"""The arguments of the programs in this folder, said once."""

import argparse
from datetime import date


def plain(text: str, name: str | None = None) -> argparse.ArgumentParser:
    """A parser without arguments; ``--help`` shows ``text`` as it is."""
    return argparse.ArgumentParser(name, description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def program(text: str) -> argparse.ArgumentParser:
    """A parser of what every contender takes: the URL of a database, the first and the last day of usage."""
    parser = plain(text)
    parser.add_argument("url")
    parser.add_argument("--first", type=date.fromisoformat, required=True)
    parser.add_argument("--last", type=date.fromisoformat, required=True)
    return parser
