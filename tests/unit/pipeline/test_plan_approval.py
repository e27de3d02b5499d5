"""What a backfill may write once its plan was approved."""

import polars as pl
import pytest

from jobs.domain.backfill_request import BackfillLimits
from jobs.domain.errors import PlanMismatchError
from jobs.pipeline.plan_approval import ADOPTION, END, ChangeRecorder
from jobs.rollups.changes import CHANGES, NO_CHANGES


def changes(user: str | None, new: str) -> pl.DataFrame:
    row = dict.fromkeys(CHANGES, "x") | {"cluster": None, "user": user, "new": new}
    return pl.DataFrame([row], schema=CHANGES)


def approved() -> ChangeRecorder:
    """A backfill with a plan of a change of ada's and one of its end."""
    planned = ChangeRecorder(BackfillLimits())
    planned.add_batch(changes("ada", "1"), pl.DataFrame(schema=planned.changed_months.schema))
    planned.add_stage(END, changes(None, "1"))
    return ChangeRecorder(BackfillLimits(), planned.approve(planned.hash))


def test_what_was_approved_is_written_and_so_is_nothing() -> None:
    """An earlier run, or an earlier try, has written it then."""
    for rows, end in ((changes("ada", "1"), changes(None, "1")), (NO_CHANGES, NO_CHANGES)):
        recorder = approved()
        recorder.check_batch(rows)
        recorder.add_stage(ADOPTION, NO_CHANGES)
        recorder.add_stage(END, end)


@pytest.mark.parametrize("user", ["ada", "bob"])
def test_another_change_is_not(user: str) -> None:
    with pytest.raises(PlanMismatchError, match=f"other changes for {user}"):
        approved().check_batch(changes(user, "2"))
    for stage in (ADOPTION, END):
        with pytest.raises(PlanMismatchError, match="x of clusters and months"):
            approved().add_stage(stage, changes(None, "2"))
