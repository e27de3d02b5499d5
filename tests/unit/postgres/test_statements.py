"""Statements as they are sent."""

from itertools import permutations

from jobs.postgres.sql_loader import text_array


def test_the_same_users_are_asked_of_in_the_same_words() -> None:
    """Or a run could not be repeated up to its n-th statement, as the tests that kill it there do."""
    assert len({text_array(users).as_string() for users in permutations(["ben", "cy", "ann"])}) == 1
    assert len({text_array(users).as_string() for users in permutations(["", "cy\x1f", "ann"])}) == 1
