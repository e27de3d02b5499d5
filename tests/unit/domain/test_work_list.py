"""A work list against a plain one: nobody is lost, and no batch is more than it may be."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jobs.domain.work_list import BatchLimits, WorkList

USERS = st.tuples(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), *[st.integers(0, 9)] * 2)


@given(users=st.lists(USERS), limits=st.builds(BatchLimits, st.integers(1, 20), st.integers(1, 20)))
def test_batches_are_as_large_as_the_limits_let_them(users: list[tuple[str, int, int]], limits: BatchLimits) -> None:
    work = WorkList(limits)
    for user in users:
        work.add(*user)
    batches = list(work)
    assert [user for batch in batches for user in batch] == [user for user, _, _ in users]
    assert (len(work), work.user_count, work.rows) == (len(batches), len(users), sum(rows for _, rows, _ in users))
    left = iter(users)
    parts = [[next(left) for _ in batch] for batch in batches]
    assert all(fits(part, limits) or len(part) == 1 for part in parts)
    assert not any(fits([*part, following[0]], limits) for part, following in pairwise(parts))


def fits(users: list[tuple[str, int, int]], limits: BatchLimits) -> bool:
    return sum(rows for _, rows, _ in users) <= limits.rows and sum(writes for *_, writes in users) <= limits.writes
