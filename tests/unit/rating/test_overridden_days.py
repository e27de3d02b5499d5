"""The override that holds on a day, against a loop over days and overrides."""

from datetime import date, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from jobs.domain.schemas import OVERRIDES
from jobs.rating.charges import expand_overrides

FIRST, LAST = date(2026, 6, 1), date(2026, 6, 9)
days = st.none() | st.integers(-3, 12).map(lambda n: FIRST + timedelta(days=n))


@given(st.lists(st.tuples(days, days), max_size=4))
def test_on_each_day_that_overrides_touch_the_one_of_the_highest_rank_holds(
    touched: list[tuple[date | None, date | None]],
) -> None:
    ordered = [(since, until) for since, until in touched if (since or FIRST) <= (until or LAST)]
    rows = [(str(rank), "ada", "m", *span, rank, None, rank) for rank, span in enumerate(ordered)]
    frame = pl.LazyFrame(rows, schema=OVERRIDES, orient="row")
    found = dict(expand_overrides(frame, FIRST, LAST).select("date", "price").collect().iter_rows())
    expected = {
        day: rank
        for rank, (since, until) in enumerate(ordered)
        for day in (FIRST + timedelta(days=n) for n in range(9))
        if (since or FIRST) <= day <= (until or LAST)
    }
    assert found == expected
