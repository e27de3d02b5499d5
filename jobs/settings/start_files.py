"""The files that `usage-jobs init` writes: settings and a rate card to start from."""

from pathlib import Path

from jobs.model.errors import ConfigError
from jobs.settings.files import RATES, SETTINGS, shipped


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
