"""Runs that go on although much usage has vanished or changes, as a person lets them who has looked at the refusal."""

import re
from dataclasses import replace
from typing import Any

from jobs.domain.check_tokens import LargeChange, Shrink
from jobs.domain.errors import ChangeError, ShrinkError
from jobs.domain.run_report import Report
from jobs.pipeline.run import run_job
from jobs.pipeline.run_request import RunRequest

FORMS = {
    "--allow-shrink": re.compile(r"\d{4}-\d\d:\d+:\d+:[0-9a-f]{6}"),
    "--allow-change": re.compile(r"\d{4}-\d\d-\d\d:[a-z]+:[\d.]+:[\d.]+:[0-9a-f]{6}"),
}


def allowing(refusal: str) -> list[str]:
    """The words of the command line that let it pass: each option with a token that the refusal prints."""
    return [word for option, form in FORMS.items() for found in form.finditer(refusal) for word in (option, found[0])]


def perform_anyway(job: RunRequest) -> Report:
    """``perform``, once more with its tokens where it is refused."""
    try:
        return run_job(job)
    except (ShrinkError, ChangeError) as refused:
        words = allowing(str(refused))
        tokens: dict[str, Any] = {
            "allow_shrink": [*job.allow_shrink, *(Shrink.parse(word) for word in words[1::2] if word.count(":") == 3)],
            "allow_change": [*job.allow_change, *(LargeChange.parse(w) for w in words[1::2] if w.count(":") == 4)],
        }
        return perform_anyway(replace(job, **tokens))
