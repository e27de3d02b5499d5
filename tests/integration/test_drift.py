"""Tables and columns that were dropped, renamed or retyped, on a database that has a past.

Each is refused by `check`, `run --dry-run` and `run`: exit 5 that names TABLE.COLUMN and what was found there. Or a run
comes to the figures of a database that did not drift, or that had nothing there. Then `schema --apply` before a run.
"""

from collections.abc import Iterator

import pytest
from drift_figures import differences, figures
from drift_verdicts import Worlds, ended, mended, tried, tried_together, verdict
from drift_world import command, do
from drifts import METERS, SOURCE, Drift, drifts, named

ALSO_ELSEWHERE = ("dropped", "text", "double precision")
"""What befalls the columns of B and C, where the columns of A have been met as anything."""


def in_question(shape: str) -> Iterator[Drift]:
    """What is refused or exact, of the application's columns and of our own; of those of our meters one stands for all.
    A column that was renamed is as one that was dropped."""
    for drift in drifts(shape):
        is_known = shape != "a" and (drift.how not in ALSO_ELSEWHERE or drift.is_own or _is_in_a(drift))
        is_alike = drift.is_own and (drift.column or "").removesuffix("_cost") in METERS["a"][1:]
        is_told = verdict(drift) == "noted" or drift.table == "hopsworks_clusters" or "free_credits" in drift.subject
        if drift.column is not None and drift.how != "renamed" and not (is_known or is_alike or is_told):
            yield drift


def _is_in_a(drift: Drift) -> bool:
    return drift.column in SOURCE["a"].get(drift.table, {})


def groups(shape: str) -> list[list[Drift]]:
    """All of them, each column at most once in a group. What was dropped is apart: a table of ours that lacks a column
    is named for that alone, and one that lacks all is no table."""
    drops: tuple[list[Drift], list[Drift]] = ([], [])
    others: list[list[Drift]] = []
    for drift in in_question(shape):
        if drift.is_gone:
            drops[drift.is_own and len(drops[0]) > len(drops[1])].append(drift)
            continue
        group = next((g for g in others if all(other.subject != drift.subject for other in g)), None)
        if group is None:
            others.append(group := [])
        group.append(drift)
    return [group for group in (*drops, *others) if group]


APPLICATIONS = SOURCE["a"].keys()
GUARDING = ("user_credits", "user_pricing_overrides")
"""Without them the ledger and the prices of before would be decided anew: a run refuses."""
OWN = [drift.table for drift in drifts("a") if drift.is_own and drift.how == "a view"]
WHOLE = [
    [named(table, "a view") for table in APPLICATIONS],
    [*(named(table, "dropped") for table in OWN[::2]), *(named(table, "renamed") for table in OWN[1::2])],
    [named(table, how) for how, tables in (("a view", OWN), ("dropped", GUARDING)) for table in tables],
    [named("usage_daily", "renamed")],
    *([named(f"user_credits.free_credits_{name}", "dropped")] for name in ("granted", "used")),
]
TOGETHER = [*WHOLE, *(group for shape in "abc" for group in groups(shape))]


@pytest.mark.parametrize("group", TOGETHER, ids=lambda group: f"{group[0]} and {len(group) - 1}")
def test_many_things_have_drifted(worlds: Worlds, group: list[Drift]) -> None:
    assert "\n".join(tried_together(worlds, group)) == ""


LEFT_OUT = (
    *(named(table, "renamed") for table in ("hopsworks_clusters", "users", "credit_transactions")),
    *(named("usage_daily.credits_deducted", "dropped"), named("users.billing_mode", "dropped")),
    *(named("hopsworks_clusters.id", "text"), named("hopsworks_clusters.name", "jsonb")),
    *(named(f"usage_daily.{name}", "dropped", "b") for name in ("reported_to_stripe", "instance_hours")),
)


@pytest.mark.thorough
@pytest.mark.parametrize("drift", LEFT_OUT, ids=str)
def test_what_a_run_does_without_is_named(worlds: Worlds, drift: Drift) -> None:
    assert "\n".join(tried(worlds, drift)) == ""


LOST = (
    *(named(f"rollup.{table}", "dropped") for table in ("credit_draws", "billing_modes", "months", "runs")),
    *(named(f"rollup.{name}", "dropped") for name in ("months.currency", "credit_draws.user_id", "runs.run_id")),
    *(named(f"rollup.user_monthly.{name}", "dropped") for name in ("uncovered", "cpu_hours")),
)
"""Of the tables that no run can compute anew, and of a roll-up."""


@pytest.mark.parametrize("drift", LOST, ids=str)
def test_schema_apply_mends_it_or_says_that_it_cannot(worlds: Worlds, drift: Drift) -> None:
    assert "\n".join(mended(worlds, drift)) == ""


@pytest.mark.parametrize("table", ["user_monthly", "cluster_daily"])
def test_a_roll_up_that_was_lost_is_computed_or_named(worlds: Worlds, table: str) -> None:
    """On a night on which nothing else has changed: a run must not go on beside an empty table."""
    url = worlds.copy("a")
    assert command("a", url, "run").code == 3
    do(url, f"DROP TABLE rollup.{table}")
    assert command("a", url, "schema", "--apply").code == 0
    ran = command("a", url, "run")
    if ran.code == 5 and table in ran.err:
        return
    assert ran.code == 3, ended(ran)
    closed = f"rollup.{table}: no row 2026-05"
    unlike = differences(figures(url), worlds.expected("a"))
    assert [word for word in unlike if not word.startswith(closed)] == []
