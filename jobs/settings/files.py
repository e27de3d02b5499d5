"""Configuration files: where they are found, their text (whole, or exit 2), and those that `init` writes."""

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

from jobs.domain.errors import ConfigError

SETTINGS, RATES = "settings.toml", "rates.csv"
PLACES = (Path(SETTINGS), Path("config", SETTINGS))
"""Where a settings file is looked for that nobody names, in this order."""


def found(cwd: Path) -> Path:
    """The settings file under ``cwd``, else the one that ships."""
    return next((cwd / place for place in PLACES if (cwd / place).exists()), shipped(SETTINGS))


def shipped(name: str) -> Path:
    """A file that ships: beside the code in an installed package, in config/ of a checkout."""
    jobs = Path(__file__).parents[1]
    return next(folder for folder in (jobs / "config", jobs.parent / "config") if folder.exists()) / name


def shown(file: Path, cwd: Path) -> str:
    """The name of a file in messages: as seen from ``cwd``, where it lies under it."""
    return str(file.relative_to(cwd)) if file.is_relative_to(cwd) else str(file)


def text_of(file: Path) -> str:
    """What can be read of a file, whatever is wrong with it; nothing where there is none."""
    return file.read_text(encoding="utf-8-sig", errors="replace") if file.is_file() else ""


def read(file: Path, what: str) -> str:
    """The whole text of the ``what`` file; ConfigError where it is missing, or no text."""
    try:
        content = file.read_bytes()
    except OSError as error:
        remedy = ": usage-jobs init writes one to start from" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(
            f"{file}: expected the {what} file; found: {error.strerror}. Give its path, or make the file{remedy}"
        ) from None
    try:
        text = content.decode("utf-8-sig")  # a sheet's CSV begins with a mark
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file} line {line}: expected UTF-8 text; found {error.reason}. Save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_toml(file: Path) -> dict[str, Any]:
    """The values of a settings file; ConfigError naming the line that is no TOML."""
    text = read(file, "settings")
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        words = str(error).replace("end of document", f"the end, line {len(text.splitlines())}")
        raise ConfigError(f"{file}: expected TOML: {words}") from None


def write_start_files(folder: Path) -> list[Path]:
    """Writes settings.toml, which names its rates and has ``start`` to fill in, and the rates.csv that ships.

    Raises ConfigError, and writes nothing, where one of them exists or the folder cannot be had.
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
