"""Fixtures of several files: users whose draws a run has posted."""

import pytest
from prepaid import june, night, prepaid, row, user


@pytest.fixture
def rich(ready: str) -> str:
    """1.00 purchased, of which rows 1 to 3, on 18 to 20 June, have drawn 0.30 each; bob is prepaid too, eve is not."""
    prepaid(ready, purchased="1.00")
    prepaid(ready, "bob", purchased="0.20")
    user(ready, "eve", "postpaid")
    for number in (1, 2, 3):
        row(ready, number, "0.30", june(17 + number))
    night(ready)
    return ready


@pytest.fixture
def poor(ready: str) -> str:
    """0.50 purchased: row 2 on the 19th has drawn 0.30, row 3 on the 20th 0.20 of its 0.30."""
    prepaid(ready, purchased="0.50")
    for number in (2, 3):
        row(ready, number, "0.30", june(17 + number))
    night(ready)
    return ready
