"""A contender is a program: started, waited for, and asked nothing but what it prints. So its start is timed, too."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

MIB = 2**20 if sys.platform == "darwin" else 2**10
"""What ru_maxrss counts: bytes there, KiB elsewhere."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A program that has ended well: wall seconds, peak resident MiB of its largest process, standard output."""

    seconds: float
    mib: float
    out: str


def ran(words: Sequence[str | Path], env: Mapping[str, str], folder: Path) -> Ran:
    """Runs a program to its end in ``folder``; SystemExit with its last words where it fails.

    This process must stay small: what it holds when it starts another counts as the other's peak.
    """
    ours = ("PG", "USAGE_JOBS", "SUPABASE")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | dict(env)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = perf_counter()
        process = subprocess.Popen(words, env=clean, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
        seconds = perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (out, err):
            file.seek(0)
        if process.returncode:
            shown = " ".join(str(word) for word in words if "://" not in str(word))
            raise SystemExit(f"{shown}: exit {process.returncode}\n{out.read()[-2000:]}\n{err.read()[-4000:]}")
        return Ran(seconds, used.ru_maxrss / MIB, out.read())
