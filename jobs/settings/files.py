"""Configuration files: finding and reading them, and writing those of `init`.

No message shows a line of .env.local: it may contain a password.
"""

import re
import tomllib
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv.parser import Binding, parse_stream

from jobs.domain.errors import ConfigError

SETTINGS, RATES = "settings.toml", "rates.csv"
SETTINGS_PLACES = (Path(SETTINGS), Path("config", SETTINGS))
"""Where the settings file is searched for if none is named, in this order."""
_OURS = re.compile(r"^\s*(?:export\s+)?(?:DATABASE_URL|SUPABASE_\w+|USAGE_JOBS_\w+|PG[A-Z]+)(?=\s*[=:])", re.MULTILINE)
"""A line of .env.local with a variable that the job reads."""


def find_settings(cwd: Path) -> Path:
    """The settings file under ``cwd``, else the packaged one."""
    return next((cwd / place for place in SETTINGS_PLACES if (cwd / place).exists()), shipped(SETTINGS))


def shipped(name: str) -> Path:
    """The path of a packaged file: beside the code in an installed package, in config/ of a checkout."""
    jobs = Path(__file__).parents[1]
    return next(folder for folder in (jobs / "config", jobs.parent / "config") if folder.exists()) / name


def read(file: Path, what: str) -> str:
    """The text of the ``what`` file. Raises ConfigError if it is missing or not UTF-8."""
    try:
        return file.read_text(encoding="utf-8-sig")  # a CSV file from a spreadsheet begins with a byte order mark
    except OSError as error:
        remedy = ": usage-jobs init writes one to start from" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(
            f"{file}: expected the {what} file; found: {error.strerror}. Give its path, or create the file{remedy}"
        ) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file} line {line}: expected UTF-8 text; found {error.reason}. Save it as UTF-8") from None


def read_toml(file: Path) -> dict[str, Any]:
    """The values of a settings file. Raises ConfigError naming the line that is not TOML."""
    text = read(file, "settings")
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        words = str(error).replace("end of document", f"the end, line {len(text.splitlines())}")
        raise ConfigError(f"{file}: expected TOML: {words}") from None


def parse_env(text: str, source: str) -> dict[str, str]:
    """The variables in ``text``. Raises ConfigError naming ``source`` and line for the first invalid line.

    Nothing is interpolated: a raw password may contain ${.
    """
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    for binding in parse_stream(StringIO(text)):
        where = f"{source} line {_first_line(binding)}"
        if binding.error or (binding.key is not None and binding.value is None):
            raise ConfigError(
                f"{where}: expected NAME=value, with any quotation mark that begins the value closed at its end; found "
                "something else. Correct the line, or take it out"
            )
        if binding.key is None or binding.value is None:
            continue  # a comment, or an empty line
        is_ours = _OURS.match(f"{binding.key}=") is not None
        # A variable of another program, such as a private key, may have several lines, but none of ours among them.
        if "\n" in binding.value and (is_ours or _OURS.search(binding.value.partition("\n")[2])):
            raise ConfigError(
                f"{where}: {binding.key}: expected its quotation mark to be closed in the same line; found the next "
                "lines in its value. Close it; between double quotation marks \\n is a line break too: use single ones"
            )
        if lines.setdefault(binding.key, _first_line(binding)) != _first_line(binding) and is_ours:
            raise ConfigError(
                f"{where}: {binding.key} is already set in line {lines[binding.key]}; take one of them out"
            )
        found[binding.key] = binding.value
    return found


def parse_valid_lines(text: str) -> dict[str, str]:
    """The variables in the valid lines of ``text``; invalid lines are ignored."""
    return {found.key: found.value for found in parse_stream(StringIO(text)) if found.key and found.value}


def _first_line(binding: Binding) -> int:
    """The line number of a binding; python-dotenv counts the empty lines before it as part of it."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def write_start_files(folder: Path) -> list[Path]:
    """Writes settings.toml, with ``start`` to fill in, and the packaged rates.csv; returns their paths.

    Raises ConfigError, and writes nothing, if one of them exists or the folder cannot be created.
    """
    settings = shipped(SETTINGS).read_text(encoding="utf-8").replace("# rates = ", "rates = ", 1)
    texts = {folder / SETTINGS: settings, folder / RATES: shipped(RATES).read_text(encoding="utf-8")}
    for file in texts:
        if file.exists():
            raise ConfigError(f"{file}: exists, and init overwrites nothing. Give another folder: usage-jobs init DIR")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{error.filename}: expected a folder to write to; found: {error.strerror}") from None
    return list(texts)
