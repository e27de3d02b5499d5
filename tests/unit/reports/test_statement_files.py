"""File names of statements, and the operator's logo."""

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.domain.errors import ConfigError
from jobs.reports.statement_files import name_file
from jobs.reports.statement_pages import MOST_BYTES, read_logo

MONTH = date(2026, 6, 1)
IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.text("aA.%+", max_size=5)


@given(IDS, IDS)
def test_file_names_are_unique_whatever_the_id_and_the_case(one: str, other: str) -> None:
    names = [name_file(user, MONTH, "html") for user in (one, other, one * 500)]
    assert (names[0].lower() == names[1].lower()) == (one == other)
    assert all(
        name.isascii() and len(name) <= 200 and "/" not in name and name.startswith("2026-06-") for name in names
    )


def test_a_cut_name_is_no_other_users() -> None:
    long = name_file("a" * 5000, MONTH, "html")
    assert name_file(long.removeprefix("2026-06-").removesuffix(".html"), MONTH, "html") != long
    assert name_file("auth0|66a0", MONTH, "pdf") == "2026-06-auth0%7C66a0.pdf"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
    ],
)
def test_logos(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "logo").write_bytes(content)
    assert read_logo(tmp_path / "logo").startswith(f"data:{kind};base64,")
    assert read_logo(None) == ""


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, "No such file"), (b"GIF89a", "GIF89a"), (b"<html></html>", "html"), (b"x" * (MOST_BYTES + 1), "200,001")],
)
def test_files_that_are_no_logo(tmp_path: Path, content: bytes | None, found: str) -> None:
    if content is not None:
        (tmp_path / "logo").write_bytes(content)
    with pytest.raises(ConfigError, match=found) as error:
        read_logo(tmp_path / "logo")
    assert str(tmp_path / "logo") in str(error.value)
