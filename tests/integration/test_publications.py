"""A publication FOR ALL TABLES, as replicas make it: tables without an identity cannot change."""

import pytest
from commands import ask
from prepaid import june, night, others, prepaid, repeats, reprice, row


@pytest.mark.thorough
def test_runs_write_to_tables_that_are_published(ready: str) -> None:
    """Every kind of change, of every table that the job owns."""
    ask(ready, "CREATE PUBLICATION everything FOR ALL TABLES")
    prepaid(ready, purchased="1")
    row(ready, 1, "0.40", june(18))
    row(ready, 2, "0.40", june(19), gpu_hours=-1)
    night(ready, code=3)
    reprice(ready, 1, "0.60")
    ask(ready, "UPDATE usage_daily SET gpu_hours = 0")
    others(ready, purchased="1")
    night(ready)
    ask(ready, "UPDATE usage_daily SET hopsworks_cluster_id = gen_random_uuid(), date = date - 1")
    night(ready)
    repeats(ready)
