"""Fixtures of several files: users whose draws a run has posted."""

from collections.abc import Callable

import pytest
from prepaid import june, night, prepaid, row, user


def prepare_rich(url: str) -> None:
    prepaid(url, purchased="1.00")
    prepaid(url, "bob", purchased="0.20")
    user(url, "eve", "postpaid")
    for number in (1, 2, 3):
        row(url, number, "0.30", june(17 + number))
    night(url)


@pytest.fixture
def rich(make_prepared: Callable[[Callable[[str], object]], str]) -> str:
    """1.00 purchased, of which rows 1 to 3, on 18 to 20 June, have drawn 0.30 each; bob is prepaid too, eve is not."""
    return make_prepared(prepare_rich)


def prepare_poor(url: str) -> None:
    prepaid(url, purchased="0.50")
    for number in (2, 3):
        row(url, number, "0.30", june(17 + number))
    night(url)


@pytest.fixture
def poor(make_prepared: Callable[[Callable[[str], object]], str]) -> str:
    """0.50 purchased: row 2 on the 19th has drawn 0.30, row 3 on the 20th 0.20 of its 0.30."""
    return make_prepared(prepare_poor)
