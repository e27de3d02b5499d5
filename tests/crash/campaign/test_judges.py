"""The campaign's own judgement: that it would see what must not be."""

import json
from pathlib import Path

import night as world
import pytest
from campaign import Campaign
from commands import ask
from conftest import Databases
from episode import Outcome
from killing import OF_USERS, Rows, tables
from plays import torn, unfinished
from report import quantile, told

pytestmark = pytest.mark.direct("judges what stands in tables, whatever the way there", once=True)
EMPTY: dict[str, Rows] = {table: {} for table in OF_USERS}


def of(user: str, **found: object) -> dict[str, Rows]:
    return {table: {(user, table): {"user_id": user, "value": found.get(table)}} for table in OF_USERS}


def test_a_user_between_two_states_is_torn() -> None:
    before, after = of("ann", user_monthly=1, credit_draws=1), of("ann", user_monthly=2, credit_draws=2)
    assert torn(before, (before, after)) == []
    assert torn(after, (before, after)) == []
    assert torn(of("ann", user_monthly=2, credit_draws=1), (before, after)) == ["ann"]
    assert torn(of("eve"), (EMPTY, EMPTY)) == ["eve"]
    assert torn(EMPTY, (before, after)) == ["ann"]


@pytest.mark.thorough
def test_half_a_user_in_a_real_database(databases: Databases) -> None:
    night = world.made(databases)
    assert torn(night.before, (night.before, night.after)) == []
    ask(night.url, "UPDATE user_credits SET total_used = total_used + 1 WHERE user_id = 'ann'")
    assert torn(tables(night.url), (night.before, night.after)) == ["ann"]
    assert not unfinished(night.url)
    ask(night.url, "UPDATE rollup.runs SET status = 'running', finished_at = NULL")
    assert unfinished(night.url)
    databases.retire([night.url])


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.95, 95.0), (0.951, 96.0), (1, 100.0)])
def test_quantiles(share: float, expected: float) -> None:
    assert quantile([float(n) for n in range(100, 0, -1)], share) == expected
    assert quantile([], share) == 0


def test_what_is_said_of_an_outcome(tmp_path: Path) -> None:
    fault = {"kind": "term", "code": 143, "took": 1.5}
    outcomes = [Outcome(7, "night", [fault], 2.5), Outcome(8, "night", [fault | {"code": 3}], 3.5, ["it broke"])]
    text = told(outcomes)
    assert "seed 8 (night): it broke" in text
    assert "2 episodes, 1 problems" in text
    [line] = [line.split() for line in text.splitlines() if line.startswith("term")]
    assert line == ["term", "2", "1", "1", "2.5", "3.5", "3.5"]
    log = tmp_path / "log"
    log.write_text("".join(json.dumps(vars(outcome)) + "\n" for outcome in outcomes))
    assert Campaign(faults=2, log=log).run(lanes=1) == outcomes, "those in the log count, and are not repeated"
