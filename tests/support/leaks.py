"""Finds a password, or a part of it, wherever a command may have left it."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import psycopg
from commands import Ran, contents, usage_jobs_process

WORDS = ("Zebra7", "Quokka9", "Walrus3", "Ocelot5", "Badger8", "Ferret2", "Marmot4", "Gopher6", "Weasel1", "Lynx55")
SECRET = "{}@{}#{}/{}?{}%{}:{} '{}\"\\{}&ü=[{}]".format(*WORDS)
"""A password of which each word is a find: half of it may show where it was taken for a host or a database."""


def forms(secret: str) -> set[str]:
    """The ways in which a password may be written, and its parts."""
    written = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    written |= {repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return written | {part for part in re.split("[^A-Za-z0-9]+", secret) if len(part) > 5}  # WORDS, of SECRET


def leaks(text: str, secret: str = SECRET) -> set[str]:
    """The forms found in a text; it may have been wrapped, or written in small letters."""
    squeezed = "".join(text.split()).casefold()
    return {form for form in forms(secret) if "".join(form.split()).casefold() in squeezed}


def leaked(ran: Ran, secret: str = SECRET) -> set[str]:
    return leaks(ran.out, secret) | leaks(ran.err, secret)


def in_tables(url: str, secret: str = SECRET) -> set[str]:
    """In any row of any table, or in the server's list of this database's sessions."""
    with psycopg.connect(url) as connection:
        text = "SELECT string_agg(a::text, ' ') FROM pg_stat_activity AS a WHERE datname = current_database()"
        sessions = connection.execute(text).fetchone()
    return leaks(json.dumps(contents(url), ensure_ascii=False), secret) | leaks(str(sessions), secret)


def in_process_list(secret: str = SECRET) -> set[str]:
    """In the arguments of any process of this machine: everybody may read them."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found |= leaks(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"), secret)
        except OSError:
            continue  # it has ended
    return found


def another_process(words: tuple[str, ...], environment: Mapping[str, str], prelude: str = "") -> Ran:
    """The command in a process of its own, which does ``prelude`` first."""
    if not prelude:
        return usage_jobs_process(*words, **environment)
    text = f"{prelude}\nimport sys\nfrom jobs.cli.main import main\nsys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", text, *words],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
