"""Totals of the batches of a run: who is skipped, set aside or done, and what was posted."""

import polars as pl

from jobs.pipeline.batches import BatchResult
from jobs.pipeline.run_totals import PostedTotals, Totals, sum_postings

NOBODY = frozenset[str]()


def test_a_skipped_user_who_is_done_later_is_skipped_no_more() -> None:
    totals = Totals()
    totals.add(BatchResult(frozenset({"ada"}), frozenset({"bob", "eve"}), 3))
    assert (totals.skipped, totals.not_written) == ({"bob", "eve"}, {"bob", "eve"})
    totals.add(BatchResult(frozenset({"bob"}), NOBODY, 1))
    assert (totals.skipped, totals.users_recomputed, totals.rows_read) == ({"eve"}, 2, 4)


def test_a_refused_user_is_set_aside_until_done() -> None:
    totals = Totals()
    totals.add(BatchResult(NOBODY, frozenset({"bob"}), 1, failed=True, refused="a trigger"))
    assert (totals.set_aside, totals.skipped, totals.not_written) == ({"bob": "a trigger"}, set(), {"bob"})
    totals.add(BatchResult(frozenset({"bob"}), NOBODY, 1))
    assert (totals.set_aside, totals.not_written) == ({}, set())


def test_a_refusal_of_several_users_names_nobody() -> None:
    totals = Totals()
    totals.add(BatchResult(NOBODY, frozenset({"ada", "bob"}), 2, failed=True, refused="a trigger"))
    assert (totals.set_aside, totals.skipped) == ({}, {"ada", "bob"})


def test_unexplained_credits_set_a_user_aside() -> None:
    totals = Totals()
    totals.add(BatchResult(NOBODY, NOBODY, 0, unexplained={"bob": "a row shows 0.5"}))
    assert (totals.set_aside, totals.unexplained) == ({"bob": "a row shows 0.5"}, {"bob"})


def test_postings_are_new_or_corrections_up_down_or_between_lots() -> None:
    rows = [("ada", 5, 7, True), ("ada", -5, 5, False), ("bob", 3, 0, False), ("bob", 0, -2, False)]
    postings = pl.DataFrame(rows, schema=["user_id", "free", "purchased", "is_first_draw"], orient="row")
    corrected = PostedTotals(taken_rows=1, taken=3, given_back_rows=1, given_back=-2, reassigned_rows=1)
    posted = sum_postings(postings, postings.filter("is_first_draw"))
    assert posted == PostedTotals(users=2, free=3, purchased=10, settled_amount=12) + corrected
    assert sum_postings(postings.clear(), postings.clear()) == PostedTotals()
