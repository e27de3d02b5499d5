"""What a log says while a run is at work: each stage once, and of a long one how far it is and what it has left."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from jobs.service import log


@pytest.fixture(autouse=True)
def _configured() -> Iterator[None]:
    log.configure()
    yield
    log.bind_run(None)


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [{key: value for key, value in line.items() if key not in ("level", "timestamp")} for line in lines]


def test_a_long_stage_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    now = [100.0]
    tell = log.Stages(clock=lambda: now[0])
    steps: list[tuple[str, int, int | None]] = [
        ("check", 0, None),
        ("read", 0, None),
        ("read", 50, None),
        ("read", 70, None),
    ]
    steps += [("compute and write", n, 40) for n in range(0, 40, 5)]
    for stage, done, of in steps:
        tell(stage, done, of)
        now[0] += 20
    assert said(capsys) == [
        {"event": "check", "seconds": 0.0},
        {"event": "read", "seconds": 20.0},
        {"event": "read", "seconds": 60.0, "done": 70},
        {"event": "compute and write", "seconds": 80.0},
        {"event": "compute and write", "seconds": 120.0, "done": 10, "of": 40, "seconds_left": 120},
        {"event": "compute and write", "seconds": 160.0, "done": 20, "of": 40, "seconds_left": 80},
        {"event": "compute and write", "seconds": 200.0, "done": 30, "of": 40, "seconds_left": 40},
    ]


def test_a_short_one_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    tell = log.Stages(clock=lambda: 0)
    for done in range(40):
        tell("compute and write", done, 40)
    assert said(capsys) == [{"event": "compute and write", "seconds": 0.0}]
