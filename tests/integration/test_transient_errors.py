"""An operator's intervention (SQLSTATE class 57), a lost connection (08): whenever it comes, the run goes on."""

import pytest
from commands import add_usage, ask, costs, pausing, usage_jobs

TABLES = ("runs", "months", "user_monthly", "cluster_daily")
"""Written when a run begins, is prepared, computes, and ends."""
FAIL_ONCE = """
    CREATE SEQUENCE public.tries;
    GRANT USAGE ON SEQUENCE public.tries TO PUBLIC;
    CREATE FUNCTION public.fail_once() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF nextval('public.tries') <= 2 THEN RAISE EXCEPTION 'away' USING ERRCODE = '{state}'; END IF;
      RETURN NULL;
    END $$;
    CREATE TRIGGER fail_once BEFORE INSERT ON rollup.{table} EXECUTE FUNCTION public.fail_once();
"""


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("state", ["57014", "57P05", "57000", "08006"])
def test_it_is_tried_again(ready: str, monkeypatch: pytest.MonkeyPatch, state: str, table: str) -> None:
    pausing(monkeypatch, lambda _: None)
    add_usage(ready)
    ask(ready, FAIL_ONCE.format(state=state, table=table))
    ran = usage_jobs("run", url=ready)
    assert ran.code == 0, ran.err
    assert len(costs(ready)) == 1
    assert ask(ready, "SELECT last_value AS tried FROM public.tries")[0]["tried"] > 2
    assert [run["status"] for run in ask(ready, "SELECT status FROM rollup.runs")] == ["done"]
