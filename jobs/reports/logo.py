"""The operator's logo, as a data URI: a page that is sent out needs no other file."""

from base64 import b64encode
from pathlib import Path

from jobs.domain.errors import ConfigError

MOST_BYTES = 200_000
"""A page with the logo, which base64 makes a third larger, stays below 500 kB."""
SIGNATURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}


def read_logo(file: Path | None) -> str:
    """Returns the SVG, PNG or JPEG ``file`` as a data URI; empty for None.

    Raises ConfigError for a file that cannot be read, is none of these, or has over MOST_BYTES.
    """
    if file is None:
        return ""
    expected = f"reports.logo = {file}: expected an SVG, PNG or JPEG file of at most {MOST_BYTES:,} bytes"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{expected}; found: {error.strerror}. Correct the path, or take it out") from None
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{expected}; found {len(content):,} bytes. Make it smaller")
    if (kind := _find_type(content)) is None:
        raise ConfigError(f"{expected}; found a file that begins with {content[:12]!r}. Give another file")
    return f"data:{kind};base64,{b64encode(content).decode()}"


def _find_type(content: bytes) -> str | None:
    for kind, signature in SIGNATURES.items():
        if content.startswith(signature):
            return kind
    start = content[:4096].lstrip(b"\xef\xbb\xbf \r\n\t")
    return "image/svg+xml" if start.startswith(b"<") and b"<svg" in start else None
