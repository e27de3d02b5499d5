"""Credits that the ledger does not explain: their users are set aside, and nothing is put right in silence."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from commands import ask, contents, usage_jobs
from prepaid import (
    account,
    amounts,
    booked,
    deducted,
    drawn,
    entry,
    june,
    night,
    others,
    paid,
    prepaid,
    repeats,
    row,
    sums,
    used,
    user,
)
from restoring import APPLICATION, copy, restore, tables_of

from jobs.pipeline import batches
from jobs.postgres.conninfo import Address
from jobs.postgres.run_lock import hold_run_lock
from jobs.settings import load

OURS = ("user_daily", "user_monthly", "cluster_daily", "cluster_monthly", "credit_draws", "runs", "months")


def prepare_two(url: str) -> None:
    for number, name in enumerate(("ada", "bob"), start=1):
        prepaid(url, name, granted="0.10", purchased="9")
        row(url, number, "0.30", june(19), user_id=name)
    night(url)


@pytest.fixture
def two(make_prepared: Callable[[Callable[[str], object]], str]) -> str:
    """Ada and bob, each of whom was drawn 0.10 free and 0.20 purchased on the 19th."""
    return make_prepared(prepare_two)


def reasons(url: str) -> dict[str, str]:
    """Why users are set aside."""
    return {row["user_id"]: row["reason"] for row in ask(url, "SELECT user_id, reason FROM rollup.set_aside")}


def of_user(url: str, name: str) -> dict[str, list[str]]:
    """All that tables have of one user."""
    tables = (*APPLICATION, "rollup.user_daily", "rollup.user_monthly", "rollup.credit_draws")
    return {
        table: [row["text"] for row in ask(url, f"SELECT t::text AS text FROM {table} AS t WHERE user_id = %s", name)]
        for table in tables
    }


def draws_of_bob(url: str) -> None:
    """Another program takes 0.50 of bob, and shows it on a row of 0.50; ada has used 0.20 more."""
    row(url, 3, "0.50", june(20), user_id="bob", credits_deducted="0.50")
    others(url, "bob", type_="usage", used="0.50")
    row(url, 4, "0.20", june(20))


def test_who_shows_what_no_entry_explains_is_set_aside(two: str) -> None:
    """In a dry run as well; nothing of him is written, and the others are done."""
    draws_of_bob(two)
    before, everything = of_user(two, "bob"), contents(two)
    dry = night(two, "--dry-run", code=6)
    assert contents(two) == everything
    told = night(two, code=6)
    assert (dry["notes"], dry["changed"]) == (told["notes"], told["changed"])
    assert (told["users_set_aside"], told["users_foreign"], of_user(two, "bob")) == (1, 1, before)
    assert drawn(two) == {1: amounts("0.10", "0.20"), 4: amounts("0", "0.20")}
    reason = reasons(two)["bob"]
    assert reason.startswith(f"credits_deducted of row {UUID(int=3)} of 2026-06-20: expected 0, as rollup.credit_draws")
    for words in ("found 0.5.", "`--adopt bob`", "`--trust-ledger bob`"):
        assert words in reason
    assert any(reason in note and "set aside (rollup.set_aside): bob" in note for note in told["notes"])
    found = usage_jobs("reconcile", url=two)
    assert (found.code, "bob: credits_deducted of row" in " ".join(found.out.split())) == (6, True)


def test_cluster_tables_wait_until_all_users_are_in_user_daily(two: str) -> None:
    """After an upgrade: the first version has stored no user_daily, and no fingerprint of a month."""
    clusters = "SELECT date, cluster_id, users, total_cost FROM rollup.cluster_daily ORDER BY 1, 2"
    before = ask(two, clusters)
    ask(two, "DELETE FROM rollup.user_daily")
    ask(two, "UPDATE rollup.months SET fingerprint = NULL")
    ask(two, "UPDATE usage_daily SET credits_deducted = 5 WHERE user_id = 'bob'")
    waits = "the cluster tables of 2026-06 wait for these users"
    assert waits in night(two, "--dry-run", code=6)["notes"]
    assert waits in night(two, code=6)["notes"]
    assert ask(two, clusters) == before
    june_now = "SELECT fingerprint FROM rollup.months WHERE month = '2026-06-01'"
    assert ask(two, june_now) == [{"fingerprint": None}], "the next run computes bob"
    assert waits not in night(two, "--trust-ledger", "bob")["notes"]
    assert ask(two, clusters) == before
    assert ask(two, "SELECT count(*) AS n FROM rollup.touched_days") == [{"n": 0}]


def test_a_month_waits_for_who_is_set_aside(two: str) -> None:
    """Although other users are rejected, too: 6 beats 3."""
    draws_of_bob(two)
    row(two, 5, "1", june(20), gpu_hours=-1)
    july = date(2026, 7, 5)
    told = night(two, today=july, code=6)
    assert any("2026-06 stays open: bob is set aside" in note for note in told["notes"])
    assert told["rows_rejected"] == 1
    assert night(two, "--dry-run", today=july, code=6)["closed"] == []
    assert night(two, "--adopt", "bob", today=july, code=3)["closed"] == ["2026-06-01"]


@pytest.mark.thorough
def test_a_month_waits_for_who_is_set_aside_for_a_later_month(two: str) -> None:
    """The row is in July; the dry run says so as well."""
    row(two, 3, "0.50", date(2026, 7, 2), user_id="bob", credits_deducted="0.50")
    for words in (("--dry-run",), ()):
        told = night(two, "--date", "2026-07-10", *words, code=6, today=date(2026, 7, 11))
        assert any("2026-06 stays open: bob is set aside" in note for note in told["notes"])
        assert told["closed"] == []
    assert ask(two, "SELECT month FROM rollup.months WHERE closed_at IS NOT NULL AND month = '2026-06-01'") == []
    told = night(two, "--date", "2026-07-10", "--trust-ledger", "bob", today=date(2026, 7, 11))
    assert told["closed"] == ["2026-06-01"]


def test_a_run_ends_for_those_who_are_refused_and_not_for_these(two: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are: each has a cause of his own."""
    monkeypatch.setattr(batches, "MOST_SET_ASIDE", 0)
    draws_of_bob(two)
    assert night(two, code=6)["users_foreign"] == 1
    assert drawn(two) == {1: amounts("0.10", "0.20"), 4: amounts("0", "0.20")}


def test_a_backfill_of_another_month_leaves_him_set_aside(two: str) -> None:
    draws_of_bob(two)
    night(two, code=6)
    row(two, 5, "1", date(2026, 5, 31))
    words = ("backfill", "--from", "2026-05-01", "--to", "2026-05-31", "--reason", "late", "--yes")
    assert usage_jobs(*words, url=two).code == 0
    assert reasons(two).keys() == {"bob"}


def test_adopted_draws_cost_nothing_again(two: str) -> None:
    """Free until the account's free credits used are exhausted, then purchased; no transaction and no balance moves."""
    ask(two, "UPDATE user_credits SET free_credits_granted = 0.25, free_credits_used = 0.15 WHERE user_id = 'bob'")
    row(two, 3, "0.50", june(20), user_id="bob", credits_deducted="0.40")
    ask(two, "UPDATE user_credits SET total_used = total_used + 0.35 WHERE user_id = 'bob'")
    night(two, code=6)
    taken = ask(two, "SELECT count(*) AS n FROM credit_transactions WHERE user_id = 'bob'")
    told = night(two, "--adopt", "bob", "--adopt", "ada")
    assert [note for note in told["notes"] if "adopt" in note] == [
        "adopted credits of 0.4 on 1 row of bob: the ledger now has what they show",
        "--adopt ada: expected a user who is set aside for unexplained credits; found none",
    ]
    imported = ask(two, "SELECT usage_daily_id AS id, free, purchased FROM rollup.credit_draws WHERE imported")
    assert [tuple(row.values()) for row in imported] == [(UUID(int=3), Decimal("0.05"), Decimal("0.35"))]
    assert used(two, "bob") == amounts("0.25", "0.55"), "0.10 more, which nobody had drawn"
    assert ask(two, "SELECT count(*) AS n FROM credit_transactions WHERE user_id = 'bob'")[0]["n"] == taken[0]["n"] + 1
    assert reasons(two) == {}
    assert night(two)["rows_changed"] == 0


def test_adopted_draws_of_who_is_not_prepaid_are_free_first_too(two: str) -> None:
    user(two, "eve", "postpaid")
    account(two, "eve", granted="0.25", free_used="0.25", purchased="9", used="0.15")
    row(two, 3, "0.40", june(20), user_id="eve", credits_deducted="0.40")
    night(two, code=6)
    night(two, "--adopt", "eve")
    assert (drawn(two, "eve"), used(two, "eve")) == ({3: amounts("0.25", "0.15")}, amounts("0.25", "0.15"))
    repeats(two)


@pytest.mark.thorough
def test_a_backfill_of_a_closed_month_takes_the_same_remedies(two: str) -> None:
    """Its plan lists what is adopted."""
    july = date(2026, 7, 5)
    assert night(two, today=july)["closed"] == ["2026-06-01"]
    ask(two, "UPDATE usage_daily SET credits_deducted = credits_deducted + 0.5, cpu_hours = cpu_hours + 1")
    asked = ("backfill", "--from", "2026-06-01", "--to", "2026-06-30", "--reason", "looked into", "--json")
    before, ran = contents(two), usage_jobs(*asked, "--yes", url=two, today=july)
    assert (ran.code, {*reasons(two)}) == (6, {"ada", "bob"})
    logs: dict[str, list[str]] = {"rollup.set_aside": [], "rollup.runs": []}
    assert contents(two) | logs == before | logs
    decided = ("--adopt", "bob", "--trust-ledger", "ada")
    plan = usage_jobs(*asked, *decided, "--dry-run", url=two, today=july).object["plan"]["hash"]
    ran = usage_jobs(*asked, *decided, "--plan", plan, url=two, today=july)
    assert (ran.code, reasons(two)) == (0, {}), ran.err
    imported = ask(two, "SELECT sum(free + purchased) AS adopted FROM rollup.credit_draws WHERE imported")
    assert imported == [{"adopted": Decimal("0.5")}]
    repeats(two, today=july)


@pytest.mark.thorough
def test_the_ledger_goes_over_what_the_rows_show(two: str) -> None:
    draws_of_bob(two)
    ask(two, "UPDATE usage_daily SET credits_deducted = 'NaN' WHERE id = %s", UUID(int=2))
    night(two, code=6)
    before = booked(two, "bob")
    told = night(two, "--trust-ledger", "bob", "--trust-ledger", "zed")
    assert any(note.startswith("--trust-ledger zed: expected a user who is set aside") for note in told["notes"])
    assert told["credits"]["refilled_rows"] == 2
    assert (deducted(two)[2], deducted(two)[3]) == (Decimal("0.30"), Decimal("0.50"))
    assert booked(two, "bob") == [*before, entry(3, 1, june(20), "0", "0.50")], "drawn by us, as the operator has said"
    repeats(two)


def test_what_a_collector_has_reset_is_filled_again(two: str) -> None:
    """Where the user's transactions agree with the ledger."""
    ask(two, "UPDATE usage_daily SET credits_deducted = NULL")
    told = night(two)
    assert (told["credits"]["refilled_rows"], told["changed"]["credit_draws"]) == (2, 0)
    assert deducted(two) == {1: Decimal("0.30"), 2: Decimal("0.30")}
    repeats(two)
    ask(two, "UPDATE credit_transactions SET metadata = metadata - 'schema' WHERE user_id = 'ada'")
    ask(two, "UPDATE credit_transactions SET amount = -0.10 WHERE user_id = 'bob'")
    ask(two, "UPDATE usage_daily SET credits_deducted = 0")
    night(two, code=6)
    assert "the user's transactions come to 0.1 where the ledger comes to 0.3" in reasons(two)["bob"]
    assert (list(reasons(two)), deducted(two)) == (["bob"], {1: Decimal("0.30")}), "the first edition named no schema"
    ask(two, "DELETE FROM credit_transactions")
    night(two, code=6)
    assert "no transactions of the user that the ledger could be compared with" in reasons(two)["bob"]


def test_without_transactions_a_reset_column_is_set_aside(two: str) -> None:
    """Nothing says whether a collector reset the column or a copy was restored: a person decides."""
    with psycopg.connect(two) as link:
        link.execute(b"DROP TABLE credit_transactions")
        link.execute(b"UPDATE usage_daily SET credits_deducted = 0 WHERE user_id = 'bob'")
    night(two, code=6)
    assert "no transactions of the user" in reasons(two)["bob"]
    told = night(two, "--trust-ledger", "bob")
    assert (told["credits"]["refilled_rows"], reasons(two)) == (1, {})


@pytest.mark.thorough
def test_an_older_dump_of_our_schema_takes_nothing_twice(two: str) -> None:
    tables = [f"rollup.{table}" for table in OURS]
    copy(two, tables)
    row(two, 3, "0.50", june(20), user_id="bob")
    row(two, 4, "0.20", june(20))
    night(two)
    restore(two, tables)
    row(two, 5, "0.40", june(20))
    row(two, 6, "0.10", june(20), user_id="cy")
    held = {table: rows for table, rows in contents(two).items() if table.removeprefix("public.") in APPLICATION}
    broken = usage_jobs("reconcile", url=two)
    assert (broken.code, "ada" in broken.out, "bob" in broken.out) == (6, True, True)
    told = night(two, code=6)
    broken = usage_jobs("reconcile", url=two)
    assert (broken.code, "bob: credits_deducted of row" in " ".join(broken.out.split())) == (6, True)
    assert (told["users_foreign"], sorted(reasons(two))) == (2, ["ada", "bob"])
    assert {table: contents(two)[table] for table in held} == held
    told = night(two, "--adopt", "ada", "--adopt", "bob")
    assert (used(two), used(two, "bob")) == (amounts("0.10", "0.80"), amounts("0.10", "0.70"))
    assert booked(two)[-1] == entry(5, 1, june(20), "0", "0.40")
    repeats(two)


@pytest.mark.thorough
def test_older_tables_of_the_application_are_charged_again_when_asked_for(two: str) -> None:
    copy(two, APPLICATION)
    balance = used(two, "bob")
    ask(two, "UPDATE usage_daily SET cpu_hours = cpu_hours * 2 WHERE user_id = 'bob'")
    row(two, 3, "0.50", june(20), user_id="bob")
    night(two)
    ask(two, "INSERT INTO dump_usage_daily SELECT u.* FROM usage_daily AS u WHERE id = %s", UUID(int=3))
    ask(two, "UPDATE dump_usage_daily SET cpu_hours = cpu_hours * 2 WHERE id = %s", UUID(int=2))
    ask(two, "UPDATE dump_usage_daily SET credits_deducted = NULL WHERE id = %s", UUID(int=3))
    restore(two, APPLICATION)
    before = of_user(two, "bob")
    night(two, code=6)
    assert (of_user(two, "bob"), used(two, "bob")) == (before, balance)
    assert "expected 0.6, as rollup.credit_draws has it; found 0.3" in reasons(two)["bob"]
    night(two, "--adopt", "bob")
    assert used(two, "bob") == amounts("0.10", "1.00")
    assert paid(two, "bob") == sums(credits_free="0.10", credits_purchased="1.00", credits_deducted="1.10")
    repeats(two)


@pytest.mark.thorough
def test_what_was_never_paid_is_not_given_back(two: str) -> None:
    """The restored dump lacks a row, and its charge; or it is ours, and has a draw that was given back since."""
    copy(two, APPLICATION)
    row(two, 3, "0.50", june(20), user_id="bob")
    night(two)
    restore(two, APPLICATION)
    balance = used(two, "bob")
    night(two, code=6)
    assert "found it gone, or another user's, and the user's transactions come to 0.3 where" in reasons(two)["bob"]
    night(two, "--adopt", "bob")
    assert (used(two, "bob"), drawn(two, "bob")) == (balance, {2: balance})
    repeats(two)
    tables = tables_of(two, "rollup")
    copy(two, tables)
    ask(two, "DELETE FROM usage_daily WHERE user_id = 'ada'")
    night(two)
    restore(two, tables)
    night(two, code=6)
    night(two, "--adopt", "ada")
    assert (used(two), drawn(two)) == (amounts("0", "0"), {})
    repeats(two)


def test_who_has_used_less_than_was_drawn_lacks_no_column(ready: str) -> None:
    """Where free credits used were never counted apart: he was given something back, by us or by others."""
    ask(ready, "ALTER TABLE user_credits DROP COLUMN free_credits_used")
    prepaid(ready, granted="0.10", purchased="9")
    row(ready, 1, "0.30", june(19))
    row(ready, 2, "0", june(19))
    night(ready)
    tables = tables_of(ready, "rollup")
    copy(ready, tables)
    ask(ready, "DELETE FROM usage_daily WHERE id = %s", UUID(int=1))
    night(ready)
    restore(ready, tables)
    night(ready, code=6)
    assert "removes the draws from the ledger, and changes no account" in reasons(ready)["ada"]


def test_a_column_of_free_credits_used_that_is_gone_is_missed(two: str) -> None:
    ask(two, "ALTER TABLE user_credits DROP COLUMN free_credits_used")
    before, refused = contents(two), usage_jobs("run", url=two)
    assert (refused.code, contents(two)) == (5, before)
    for words in ("user_credits.free_credits_used", "Accounts have used less than was drawn on them", "an older copy"):
        assert words in refused.err


def test_both_remedies_at_once_are_refused(two: str) -> None:
    ran = usage_jobs("run", "--adopt", "bob", "--trust-ledger", "bob", url=two)
    assert (ran.code, "bob: expected --adopt or --trust-ledger" in ran.err) == (2, True)


def test_two_deployments_on_one_table_never_run_at_once(two: str) -> None:
    """Although each has a schema of its own, and one of them a view of the table."""
    ask(two, "CREATE SCHEMA views; CREATE VIEW views.usage_daily AS SELECT * FROM public.usage_daily")
    other = load(None, {"USAGE_JOBS_SCHEMA": "other", "USAGE_JOBS_SOURCE_SCHEMA": "views"}, Path.cwd())
    with hold_run_lock(Address(two), other, lambda: None):
        ran = usage_jobs("run", url=two)
    assert (ran.code, "another deployment (its schema is not rollup) holds the lock of usage_daily" in ran.err) == (
        4,
        True,
    )
    night(two)


@pytest.mark.thorough
def test_a_row_that_was_another_users_for_a_night_is_drawn_again(ready: str) -> None:
    """Its draws were given back, and whose it was meanwhile could not be had, so that it still shows them."""
    for name in ("ada", "bob"):
        prepaid(ready, name, purchased="5")
    row(ready, 1, "0.30")
    night(ready)
    ask(ready, "UPDATE usage_daily SET user_id = 'bob'")
    with psycopg.connect(ready) as holder:
        holder.execute("SELECT FROM user_credits WHERE user_id = 'bob' FOR UPDATE")
        night(ready)
    assert (drawn(ready), deducted(ready)) == ({}, {1: Decimal("0.30")})
    ask(ready, "UPDATE usage_daily SET user_id = 'ada'")
    night(ready)
    assert (drawn(ready), deducted(ready)) == ({1: amounts("0", "0.30")}, {1: Decimal("0.30")})
    repeats(ready)


FOUND = "found 2 of schema rollup, and rollup.credit_draws is still there"


@pytest.mark.thorough
def test_a_second_deployment_draws_nothing_twice(two: str) -> None:
    """It refuses to adopt what the first one goes on to draw; had it begun before, each would see the other's draws."""
    second: Any = {"USAGE_JOBS_SCHEMA": "other"}
    assert usage_jobs("schema", "--apply", url=two, **second).code == 0
    row(two, 3, "0.50", june(20), user_id="bob")
    before = contents(two)
    for command in ("run", "run --dry-run"):
        ran = usage_jobs(*command.split(), url=two, **second)
        assert (ran.code, FOUND in ran.err) == (5, True), ran.err
    assert contents(two) == before
    ask(two, "INSERT INTO other.runs (kind, window_from, window_to, status, credits, version)"
        " VALUES ('run', '2026-06-01', '2026-06-18', 'done', 0, '1')")  # fmt: skip
    prepaid(two, "cy", purchased="9")
    row(two, 4, "0.40", june(20), user_id="cy")
    assert night(two, code=6, **second)["users_foreign"] == 2
    assert night(two, code=6)["users_foreign"] == 1, "cy, of whom the second one has drawn"
    drawn_once = {"ada": amounts("0.10", "0.20"), "bob": amounts("0.10", "0.70"), "cy": amounts("0", "0.40")}
    assert {name: used(two, name) for name in drawn_once} == drawn_once
    ask(two, "DROP SCHEMA rollup CASCADE; DROP SCHEMA other CASCADE")
    assert usage_jobs("schema", "--apply", url=two, **second).code == 0
    told = night(two, **second)
    assert any(note.startswith("adopted 4 rows") for note in told["notes"]), "the first one is over"
