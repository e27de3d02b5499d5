"""A pace for clients that work beside the job, and a bounded wait for what the server does a moment later."""

from collections.abc import Callable, Iterator
from threading import Event
from time import monotonic

LAG = 1.0
"""Seconds of ticks that are made up for after a wait; what was missed before that is dropped."""


def ticks(over: Event, per_second: float, at_most: int) -> Iterator[int]:
    """Numbers from 0 at this rate, until ``over`` is set or there were ``at_most`` of them."""
    began = monotonic()
    for number in range(at_most):
        due = began + number / per_second
        began += max(0.0, monotonic() - due - LAG)
        if over.wait(max(0.0, due - monotonic())):
            return
        yield number


def becomes_true(question: Callable[[], bool], tries: int = 1000) -> bool:
    """Whether the answer is yes within 10 s: a backend leaves some time after its client has hung up."""
    return any(question() for _ in ticks(Event(), 100, tries))
