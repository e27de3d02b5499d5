"""Runs that go on although much usage has vanished, as a person lets them who has looked at what the refusal says."""

from dataclasses import replace

from jobs.model.errors import ShrinkError
from jobs.model.report import Report
from jobs.model.shrink import FORM, Shrink
from jobs.pipeline.run import Job, perform


def tokens(refusal: str) -> list[str]:
    """The tokens that a refusal prints."""
    return [found[0] for found in FORM.finditer(refusal)]


def allowing(refusal: str) -> list[str]:
    """The words of the command line that let it pass."""
    return [word for token in tokens(refusal) for word in ("--allow-shrink", token)]


def perform_anyway(job: Job) -> Report:
    """``perform``, once more with its tokens where it is refused."""
    try:
        return perform(job)
    except ShrinkError as refused:
        return perform(replace(job, allow_shrink=[Shrink.parse(token) for token in tokens(str(refused))]))
