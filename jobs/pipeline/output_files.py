"""Files that a command is asked to write: looked at before any work, and replaced all at once."""

from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile

from jobs.domain.errors import ConfigError


def check_writable(option: str, file: Path | None) -> None:
    """ConfigError where ``file``, the value of ``option``, could not be replaced; None: no file is asked for."""
    if file is None:
        return
    try:
        if file.exists() and not file.is_file():
            raise ConfigError(f"{option} {file}: expected a file; found a folder or a device. Give another path")
        with TemporaryFile(dir=file.parent):
            pass  # whoever may do this may rename a file to that name
    except OSError as error:
        raise ConfigError(
            f"{option} {file}: expected a file in a folder that takes new files; found: {error.strerror}. Make the "
            "folder, or give another path"
        ) from None


def replace_private(file: Path, content: bytes) -> None:
    """Replaces ``file`` by one that only its owner may read (mode 600). Raises OSError."""
    with NamedTemporaryFile(dir=file.parent, delete=False) as temporary:
        try:
            temporary.write(content)
            temporary.flush()
            Path(temporary.name).replace(file)
        except BaseException:
            Path(temporary.name).unlink(missing_ok=True)
            raise
