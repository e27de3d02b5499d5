"""Output files of a command: checked before any work, and replaced atomically."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import IO

from jobs.domain.errors import ConfigError


def check_writable(option: str, file: Path | None) -> None:
    """Raises ConfigError if ``file``, the value of ``option``, cannot be replaced. None: no file was asked for."""
    if file is None:
        return
    try:
        if file.exists() and not file.is_file():
            raise ConfigError(f"{option} {file}: expected a file; found a folder or a device. Give another path")
        with TemporaryFile(dir=file.parent):
            pass  # who can create a file here can also replace one
    except OSError as error:
        raise ConfigError(
            f"{option} {file}: expected a file in a folder that takes new files; found: {error.strerror}. Make the "
            "folder, or give another path"
        ) from None


def check_folder(option: str, folder: Path) -> None:
    """Makes ``folder``, the value of ``option``, for its owner only; raises ConfigError if it cannot take files."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"{option} {folder}: expected a folder that takes new files, or the name of a new one in a folder that "
            f"exists; found: {error.strerror}. Give another path"
        ) from None


def replace_private(file: Path, content: bytes) -> None:
    """Replaces ``file`` by one that only its owner may read (mode 600). Raises OSError."""
    with replacing(file) as temporary:
        temporary.write(content)


@contextmanager
def replacing(file: Path) -> Iterator[IO[bytes]]:
    """Yields a temporary file (mode 600) that replaces ``file`` at the end of the block; after an error in the block
    ``file`` stays as it was. Raises OSError."""
    with NamedTemporaryFile(dir=file.parent, delete=False) as temporary:
        try:
            yield temporary
            temporary.flush()
            Path(temporary.name).replace(file)
        except BaseException:
            Path(temporary.name).unlink(missing_ok=True)
            raise
