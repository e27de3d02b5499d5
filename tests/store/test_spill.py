"""The spill: what comes back is what went in, each user whole, and never more rows than allowed."""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.store.spill import PREFIX, Spill

USERS = ["ann", "ben", "", "a,b", 'q"uote', "line\nbreak", "ünï", "\\N"]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.sampled_from(USERS + [f"user {n}" for n in range(40)]), max_size=30), max_size=8),
    st.integers(1, 60),
)
def test_chunks_hold_every_row_once_and_every_user_whole(batches: list[list[str]], limit: int) -> None:
    with Spill(limit) as spill:
        for number, users in enumerate(batches):
            frame = pl.DataFrame({"user_id": users, "row": [f"{number}-{n}" for n in range(len(users))]})
            spill.put("usage", frame.cast(pl.String))
        taken = [spill.take(chunk, "usage") for chunk in spill.chunks()]
        chunks = [frame.collect() for frame in taken if frame is not None]
    went_in = sorted((user, f"{number}-{n}") for number, users in enumerate(batches) for n, user in enumerate(users))
    assert sorted(row for chunk in chunks for row in chunk.iter_rows()) == went_in
    owners = [user for chunk in chunks for user in chunk["user_id"].unique()]
    assert len(owners) == len(set(owners))
    for chunk in chunks:
        assert chunk.height <= limit or chunk["user_id"].n_unique() == 1 or _unlucky(chunk, limit)
        for (_user,), rows in chunk.partition_by("user_id", as_dict=True).items():
            order = [tuple(map(int, row.split("-"))) for row in rows["row"]]
            assert order == sorted(order)


def _unlucky(chunk: pl.DataFrame, limit: int) -> bool:
    """Users that share a hash part beside one that alone has more than half of the limit cannot be told apart."""
    return chunk["user_id"].value_counts()["count"].max() > limit // 2  # type: ignore[operator]


def test_little_usage_writes_no_file(tmp_path: Path) -> None:
    with Spill(100, tmp_path) as spill:
        spill.put("usage", pl.DataFrame({"user_id": ["ann"] * 100}))
        assert list(tmp_path.iterdir()) == []


def test_wide_rows_count_as_several(tmp_path: Path) -> None:
    with Spill(100, tmp_path) as spill:
        spill.put("standing", pl.DataFrame({"user_id": ["ann"] * 20, "amounts": ["x" * 1000] * 20}))
        assert len(list(tmp_path.iterdir())) == 1


def test_files_are_private_and_gone_at_the_end(tmp_path: Path) -> None:
    with Spill(1, tmp_path) as spill:
        spill.put("usage", pl.DataFrame({"user_id": ["ann"] * 2}))
        (room,) = tmp_path.iterdir()
        assert room.stat().st_mode & 0o077 == 0
        assert list(room.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f"{PREFIX}{dead.pid}-x"
    at_work = tmp_path / f"{PREFIX}{os.getpid()}-y"
    left.mkdir()
    at_work.mkdir()
    with Spill(1, tmp_path) as spill:
        spill.put("usage", pl.DataFrame({"user_id": ["ann"] * 2}))
        assert not left.exists()
        assert at_work.exists()
