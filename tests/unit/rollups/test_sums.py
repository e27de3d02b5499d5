"""Sums of a user's month."""

from datetime import date
from uuid import UUID

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.domain.schemas import PREPAID
from jobs.rollups.sums import PAYMENT_SUMS, sum_user_months

AMOUNTS = ("adjustment_cost", "total_cost", "free", "purchased", *list(PAYMENT_SUMS)[3:])


def clusters_of(clusters: list[int | None]) -> str:
    """user_monthly.clusters of a user with a row in each of ``clusters``, in this order."""
    rows = pl.DataFrame({"cluster_id": clusters}, schema={"cluster_id": pl.UInt128})
    rated = rows.with_columns(
        *(pl.lit(0).alias(name) for name in AMOUNTS), user_id=pl.lit("ada"), month=pl.lit(date(2026, 6, 1))
    ).with_columns(**{"class": pl.lit(PREPAID)}, starts_day=True, lacks_recorded=False)
    found: str = sum_user_months(rated.lazy(), []).collect()["clusters"].item()
    return found


@given(st.lists(st.none() | st.integers(0, 40), min_size=1))
@example([*range(30, 0, -1), None, 7])
def test_each_cluster_is_listed_once_in_the_order_of_its_text(clusters: list[int | None]) -> None:
    texts = {"NULL" if number is None else str(UUID(int=number)) for number in clusters}
    assert clusters_of(clusters) == f"{{{','.join(sorted(texts))}}}"
