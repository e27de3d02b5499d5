"""`reconcile` on a live database: what holds, what each kind of tampering breaks, and what only moved on meanwhile."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from commands import DAY, Ran, add_row, add_usage, applied, ask, configured, contents, insert, usage_jobs

from jobs.docs import read_page

MAY = date(2026, 5, 30)


def account(url: str, user: str, mode: str = "prepaid", **amounts: int) -> None:
    """A user with an account whose purchase and grant stand in the history."""
    insert(url, "users", id=user, billing_mode=mode)
    insert(url, "user_credits", user_id=user, **amounts)


def prepare_two_months(url: str) -> None:
    account(url, "ada", total_purchased=50, free_credits_granted=1)
    account(url, "bob", total_purchased=1)
    account(url, "cy", "postpaid")
    for user in ("ada", "bob", "cy"):
        for day in (MAY, DAY - timedelta(days=1), DAY):
            add_usage(url, user_id=user, date=day, cpu_hours=7)
    add_row(url, user_id="ada", cpu_hours=-1)
    assert usage_jobs("run", url=url).code == 3


@pytest.fixture
def url(make_prepared: Callable[[Callable[[str], object]], str], tmp_path: Path) -> str:
    """Three users over two months: one with credit left, one who ran out, one postpaid; one rejected row; one run."""
    configured(tmp_path)
    return make_prepared(prepare_two_months)


def broken(ran: Ran) -> dict[str, list[str]]:
    """The laws that do not hold, each with its culprits."""
    return {law["law"]: law["culprits"] for law in ran.object["laws"] if law["verdict"] == "broken"}


def reconciled(url: str) -> Ran:
    return usage_jobs("reconcile", "--json", url=url)


def tamper(url: str, statement: str, *values: object) -> None:
    """As a superuser may who switches the triggers off."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement.encode(), values or None)


def test_every_invariant_holds_after_a_run_and_nothing_is_written(url: str) -> None:
    before = contents(url)
    ran = reconciled(url)
    assert (ran.code, broken(ran)) == (0, {})
    assert {law["law"][0] for law in ran.object["laws"]} >= set("12345678")
    assert contents(url) == before


def test_the_table_names_the_figure_and_the_verdict(url: str) -> None:
    ran = usage_jobs("reconcile", url=url)
    assert ran.code == 0
    lines = ran.out.splitlines()
    [line] = [line for line in lines if line.endswith("  total cost by user = by cluster and day")]
    assert line.split()[:3] == ["holds", "6.30", "total"]
    assert f"all {sum(law['judged'] for law in reconciled(url).object['laws'])} checks hold" in ran.out
    assert max(map(len, lines)) <= 80


def test_each_check_is_named_and_the_manual_says_what_it_means(url: str) -> None:
    lines, found = usage_jobs("reconcile", url=url).out.splitlines(), reconciled(url).object["laws"]
    assert lines[-1] == "What each invariant means: usage-jobs help how-it-works"
    page = " ".join(read_page("how-it-works").partition("\n## Invariants\n")[2].split())
    named = {law["law"][0]: law["invariant"] for law in found if law["invariant"]}
    assert named.keys() == set("12345678")
    for number, words in named.items():
        assert f"{number} {words}" in (line.rstrip() for line in lines)
        assert f"**{number} {words}.**" in page
    alike = " by user = by cluster and "
    checks = {law["law"][2:].partition(" (")[0] for law in found if law["invariant"] and alike not in law["law"]}
    assert {check for check in checks if f"`{check}" not in page} == set()


def test_unlike_quantities_and_money_are_not_added_up(url: str) -> None:
    """Hours and calls of one user: 7 and 1000."""
    add_usage(url, user_id="cy", cpu_hours=1, gpu_hours=6, feature_store_api_calls=1000)
    assert usage_jobs("run", url=url).code == 3
    found, by_month = reconciled(url).object["laws"], " by user = by cluster and month"
    sums = {law["law"]: Decimal(law["left"]) for law in found if law["law"].endswith(by_month)}
    assert {name.removesuffix(by_month)[2:]: left for name, left in sums.items()} == {
        "total cost": Decimal("9.5"),
        "charges and adjustments": Decimal("9.5"),
        "credits": Decimal("3.1"),
        "quantities in h": 70,
        "quantities in calls": 1000,
        "quantities in GB h": 0,
    }


@pytest.mark.parametrize(
    ("table", "change", "where", "law", "culprit"),
    [
        ("rollup.credit_draws", "purchased = purchased + 0.01", "user_id = 'ada' AND usage_date = '2026-06-20'",
         "4 ledger by user and month = roll-up", "ada 2026-06 purchased"),
        ("rollup.credit_draws", "purchased = purchased + 0.01", "user_id = 'ada' AND usage_date = '2026-06-20'",
         "4 ledger by user and run = transactions", "ada run 1"),
        ("rollup.credit_draws", "", "user_id = 'bob'", "4 ledger by row = credits_deducted", None),
        ("rollup.credit_draws", "revision = 3", "user_id = 'bob'", "4 revisions of a row = the highest one", None),
        ("user_credits", "total_used = total_used - 1", "user_id = 'ada'",
         "4 transactions add up = balance in user_credits", "ada"),
        ("user_credits", "total_purchased = total_purchased + 1", "user_id = 'bob'",
         "4 transactions add up = balance in user_credits", "bob"),
        ("credit_transactions", "", "user_id = 'ada' AND metadata ->> 'usage_date' = '2026-06-19'",
         "4 ledger by user and run = transactions", "ada run 1"),
        ("credit_transactions", "balance_after = balance_after + 1", "user_id = 'ada'",
         "3 balance before + amount = after, not below 0", None),
        ("usage_daily", "credits_deducted = 9", "user_id = 'ada' AND date = '2026-06-20' AND cpu_hours = 7",
         "4 ledger by row = credits_deducted", None),
        ("usage_daily", "credits_deducted = 9", "user_id = 'cy'", "4 ledger by row = credits_deducted", None),
        ("rollup.user_monthly", "total_cost = total_cost + 0.01", "user_id = 'cy'",
         "1 cost of the rows, priced again = roll-up", "cy 2026-06"),
        ("rollup.user_monthly", "amount_due = 0", "user_id = 'cy'",
         "2 user-months, computed again = roll-up", "cy 2026-06"),
        ("rollup.user_monthly", "uncovered = uncovered - 0.01", "user_id = 'bob'",
         "3 drawn + uncovered + due + reported = quantized cost", "bob 2026-06"),
        ("rollup.user_monthly", "credits_free = credits_free + 1", "user_id = 'bob' AND month = '2026-06-01'",
         "3 free + purchased = deducted, by user and month", "bob 2026-06"),
        ("rollup.cluster_daily", "total_cost = total_cost - 0.01", "date = '2026-06-20'",
         "1 total cost by user = by cluster and day", "2026-06 total_cost"),
        ("rollup.cluster_monthly", "gpu_hours = 1", "month = '2026-06-01'",
         "1 quantities in h by user = by cluster and month", "2026-06 gpu_hours"),
        ("rollup.user_daily", "gpu_hours = gpu_hours + 1", "user_id = 'cy' AND date = '2026-06-20'",
         "1 user_monthly = user_daily by user and month", "cy 2026-06"),
        ("rollup.user_daily", "total_cost = total_cost + 0.01", "user_id = 'cy' AND date = '2026-06-20'",
         "1 cluster_daily = user_daily by day and cluster", "2026-06-20 none"),
        ("rollup.user_daily", "credits_deducted = 0", "user_id = 'ada' AND date = '2026-06-20'",
         "1 cluster_monthly = user_daily by month and cluster", "2026-06 none"),
        ("rollup.user_daily", "user_id = 'cy', cluster_id = gen_random_uuid()",
         "user_id = 'ada' AND date = '2026-06-20'", "2 user-days, computed again = roll-up", "ada 2026-06-20"),
        ("rollup.user_daily", "", "user_id = 'cy' AND date = '2026-06-20'",
         "2 user-days, computed again = roll-up", "cy 2026-06-20"),
        ("rollup.months", "total_cost = 1", "month = '2026-06-01'",
         "1 cost in the table months = by user", "2026-06"),
        ("rollup.months", "row_count = 9", "month = '2026-06-01'",
         "6 rows now = rows counted, in unchanged months", "2026-06"),
        ("rollup.rejects", "", "true", "6 rejected rows, as the runs counted = in rollup.rejects", "run 1"),
        ("rollup.runs", "status = 'crashed'", "true", "7 the last run is done", "run 1: usage-jobs run completes it"),
        ("usage_daily", "", "true", "8 usage has not shrunk since (rows counted, rows now)", "2026-06"),
    ],
)  # fmt: skip
def test_what_is_tampered_with_is_found_and_named(
    url: str, table: str, change: str, where: str, law: str, culprit: str | None
) -> None:
    """Without a change the rows are deleted."""
    tamper(url, f"UPDATE {table} SET {change} WHERE {where}" if change else f"DELETE FROM {table} WHERE {where}")
    ran = reconciled(url)
    assert ran.code == 6
    assert law in broken(ran)
    culprits = broken(ran)[law]
    assert culprits
    assert culprit is None or culprit in culprits


ONE_HOUR_MORE = "cpu_hours is 14 on one side, 15 on the other"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "law", "difference"),
    [
        ("rollup.user_monthly SET cpu_hours = 15, gpu_hours = 1", "1 user_monthly = user_daily by user and month",
         "cy 2026-06: " + ONE_HOUR_MORE),
        ("rollup.user_monthly SET cpu_hours = 15, gpu_hours = 1", "2 user-months, computed again = roll-up",
         "cy 2026-06: " + ONE_HOUR_MORE),
        ("rollup.user_monthly SET billing_mode = 'free'", "2 user-months, computed again = roll-up",
         "cy 2026-06: billing_mode is postpaid on one side, free on the other"),
        ("rollup.user_daily SET storage_gb_cost = 0.5", "2 user-days, computed again = roll-up",
         "cy 2026-06-20: storage_gb_cost is 0 on one side, 0.5 on the other"),
        ("rollup.cluster_daily SET users = 4", "1 cluster_daily = user_daily by day and cluster",
         "2026-06-20 none: users is 3 on one side, 4 on the other"),
        ("rollup.cluster_monthly SET storage_gb_days = 3", "1 cluster_monthly = user_daily by month and cluster",
         "2026-06 none: storage_gb_days is 0 on one side, 3 on the other"),
        ("rollup.cluster_monthly SET gpu_hours = 3", "1 quantities in h by user = by cluster and month",
         "2026-06 gpu_hours: 0 on one side, 3 on the other"),
        ("rollup.user_monthly SET total_cost = 2", "1 cost of the rows, priced again = roll-up",
         "cy 2026-06: 1.4 on one side, 2 on the other"),
        ("rollup.months SET row_count = 9", "6 rows now = rows counted, in unchanged months",
         "2026-06: 7 on one side, 9 on the other"),
    ],
)  # fmt: skip
def test_the_first_column_that_differs_is_named_with_both_values(
    url: str, change: str, law: str, difference: str
) -> None:
    table = change.split(maxsplit=1)[0]
    where = {
        "user_monthly": "user_id = 'cy' AND month = '2026-06-01'",
        "user_daily": "user_id = 'cy' AND date = '2026-06-20'",
        "cluster_daily": "date = '2026-06-20'",
    }.get(table.removeprefix("rollup."), "month = '2026-06-01'")
    tamper(url, f"UPDATE {change} WHERE {where}")
    [found] = [each for each in reconciled(url).object["laws"] if each["law"] == law]
    assert [f"{culprit}: {how}" for culprit, how in zip(found["culprits"], found["differences"], strict=True)] == [
        difference
    ]
    lines = usage_jobs("reconcile", url=url).out.splitlines()
    assert max(map(len, lines)) <= 80
    assert difference in " ".join(" ".join(lines).split())


@pytest.mark.thorough
def test_a_top_up_by_hand_is_named_with_the_insert_that_it_lacks(url: str) -> None:
    tamper(url, "UPDATE user_credits SET total_purchased = total_purchased + 2.5 WHERE user_id IN ('ada', 'bob')")
    ran = usage_jobs("reconcile", url=url)
    assert ran.code == 6
    [law] = [law for law in reconciled(url).object["laws"] if law["verdict"] == "broken"]
    assert (law["law"], law["culprits"]) == ("4 transactions add up = balance in user_credits", ["ada", "bob"])
    assert len(law["remedies"]) == 2
    for insertion in law["remedies"]:
        assert insertion in ran.out
        assert max(map(len, insertion.splitlines())) <= 80
        tamper(url, insertion)
    found = ask(
        url, "SELECT user_id, type, amount, balance_after FROM credit_transactions WHERE type <> 'usage' ORDER BY 1"
    )
    kept = {"type": "purchase", "amount": Decimal("2.5")}
    assert found == [
        {"user_id": "ada", **kept, "balance_after": Decimal("51.4")},
        {"user_id": "bob", **kept, "balance_after": Decimal("2.5")},
    ]
    assert reconciled(url).code == 0


@pytest.mark.thorough
def test_what_was_taken_by_hand_has_no_insert(url: str) -> None:
    tamper(url, "UPDATE user_credits SET total_purchased = total_purchased - 0.5 WHERE user_id = 'ada'")
    [law] = [law for law in reconciled(url).object["laws"] if law["verdict"] == "broken"]
    assert (law["culprits"], law["remedies"]) == (["ada"], [])


@pytest.mark.thorough
def test_a_draw_beyond_the_cost_is_found_where_every_sum_agrees(url: str) -> None:
    """Ledger, transactions, account, row and roll-up agree on 1 too much: only pricing anew tells."""
    ada, one_row = "user_id = 'ada'", "user_id = 'ada' AND date = '2026-06-20' AND cpu_hours = 7"
    month = "user_id = 'ada' AND month = '2026-06-01'"
    for table, change, where in (
        ("rollup.credit_draws", "purchased = purchased + 1", f"{ada} AND usage_date = '2026-06-20'"),
        ("usage_daily", "credits_deducted = credits_deducted + 1", one_row),
        ("user_credits", "total_used = total_used + 1", ada),
        ("credit_transactions", "amount = amount - 1, balance_after = balance_after - 1",
         f"{ada} AND metadata ->> 'usage_date' = '2026-06-20'"),
        ("rollup.user_daily", "credits_deducted = credits_deducted + 1", f"{ada} AND date = '2026-06-20'"),
        ("rollup.user_monthly", "credits_purchased = credits_purchased + 1", month),
        ("rollup.user_monthly", "credits_deducted = credits_deducted + 1", month),
        ("rollup.cluster_daily", "credits_deducted = credits_deducted + 1", "date = '2026-06-20'"),
        ("rollup.cluster_monthly", "credits_deducted = credits_deducted + 1", "month = '2026-06-01'"),
    ):  # fmt: skip
        tamper(url, f"UPDATE {table} SET {change} WHERE {where}")
    found = broken(reconciled(url))
    [row] = ask(url, f"SELECT id FROM usage_daily WHERE {one_row}")
    assert found == {"3 drawn of a row <= its part of the cost": [f"ada {row['id']}"]}


@pytest.mark.thorough
def test_days_that_wait_for_the_cluster_tables_break_no_invariant(url: str) -> None:
    """What a run that died has left: user_daily is written, its days are marked, and the next run regroups them."""
    for change in (
        "UPDATE usage_daily SET cpu_hours = 8 WHERE user_id = 'cy' AND date = '2026-06-20'",
        "UPDATE rollup.user_daily SET cpu_hours = 8, cpu_hours_cost = 0.8, total_cost = 0.8"
        " WHERE user_id = 'cy' AND date = '2026-06-20'",
        "UPDATE rollup.user_monthly SET cpu_hours = 15, cpu_hours_cost = 1.5, total_cost = 1.5"
        " WHERE user_id = 'cy' AND month = '2026-06-01'",
    ):
        tamper(url, change)
    grouped = {
        "1 cluster_daily = user_daily by day and cluster": ["2026-06-20 none"],
        "1 cluster_monthly = user_daily by month and cluster": ["2026-06 none"],
        "1 cost in the table months = by user": ["2026-06"],
        "1 total cost by user = by cluster and day": ["2026-06 total_cost"],
        "1 total cost by user = by cluster and month": ["2026-06 total_cost"],
    }
    assert broken(reconciled(url)).items() >= grouped.items()
    tamper(url, "INSERT INTO rollup.touched_days (run_id, batch, date) VALUES (1, 1, '2026-06-20')")
    tamper(
        url, "INSERT INTO rollup.touched_days (run_id, batch, date) VALUES (1, 1, '2026-06-19'), (1, 1, '2026-05-30')"
    )
    ran = reconciled(url)
    assert not [law for law in broken(ran) if law.startswith("1 ")]
    notes = {law["law"]: law["note"].partition(": ")[2] for law in ran.object["laws"]}
    assert notes["1 cluster_daily = user_daily by day and cluster"] == "2026-05-30, 2026-06-19 to 2026-06-20"
    assert notes["1 cluster_monthly = user_daily by month and cluster"] == "2026-05, 2026-06"
    assert notes["1 user_monthly = user_daily by user and month"] == ""
    assert usage_jobs("run", url=url).code == 3
    assert ask(url, "SELECT * FROM rollup.touched_days") == []
    ran = reconciled(url)
    assert (ran.code, broken(ran)) == (0, {})


def test_a_run_that_was_killed_is_named_whatever_it_had_written(url: str) -> None:
    """It had only taken a user away: no row of user_monthly is its own. Other invariants wait for its end."""
    running = "INSERT INTO rollup.runs (kind, window_from, window_to, status, version) VALUES ('run', %s, %s, %s, '2')"
    ask(url, running, MAY, DAY, "running")
    tamper(url, "INSERT INTO rollup.touched_days (run_id, batch, date) VALUES (2, 1, '2026-06-20')")
    add_row(url, user_id="cy", credits_deducted=1, hopsworks_cluster_id=None)
    ran = reconciled(url)
    assert (ran.code, broken(ran)) == (6, {"7 the last run is done": ["run 2: usage-jobs run completes it"]})
    laws = {law["law"]: law for law in ran.object["laws"]}
    by_cluster = laws["1 cluster_monthly = user_daily by month and cluster"]
    assert (by_cluster["verdict"], by_cluster["note"][-7:]) == ("holds", "2026-06")
    assert laws["4 ledger by row = credits_deducted"]["note"] == "run 2 is not finished"


def test_a_run_that_wrote_nothing_excuses_nothing(url: str) -> None:
    failed = "INSERT INTO rollup.runs (kind, window_from, window_to, status, version) VALUES ('run', %s, %s, %s, '2')"
    ask(url, failed, MAY, DAY, "failed")
    ask(url, "UPDATE usage_daily SET credits_deducted = 3 WHERE user_id = 'cy' AND date = %s", DAY)
    assert "4 ledger by row = credits_deducted" in broken(reconciled(url))


@pytest.mark.thorough
def test_usage_that_moved_on_breaks_no_invariant(url: str) -> None:
    """It is counted, and the next run takes it."""
    ask(url, "UPDATE usage_daily SET cpu_hours = 9 WHERE user_id = 'ada' AND date = %s AND cpu_hours = 7", DAY)
    ask(url, "UPDATE usage_daily SET user_id = 'cy' WHERE user_id = 'bob' AND date = %s", DAY)
    ran = reconciled(url)
    assert (ran.code, broken(ran)) == (0, {})
    assert ran.object["laws"][-1]["law"] == "user-months: checked, not checked"
    assert int(ran.object["laws"][-1]["right"]) > 0
    assert usage_jobs("run", url=url).code == 3
    assert reconciled(url).object["laws"][-1]["right"] == 0


@pytest.mark.thorough
def test_what_other_programs_post_is_reported_and_breaks_no_invariant(url: str) -> None:
    ask(url, "UPDATE user_credits SET total_purchased = total_purchased + 5 WHERE user_id = 'bob'")
    insert(url, "credit_transactions", user_id="bob", type="purchase", amount=5, balance_before=0, balance_after=5)
    assert usage_jobs("run", url=url).code == 3
    ran = reconciled(url)
    assert (ran.code, broken(ran)) == (0, {})
    [law] = [law for law in ran.object["laws"] if law["law"].startswith("4 transactions add up")]
    assert law["note"] == "other programs posted 1 time between our transactions"


@pytest.mark.thorough
def test_days_limit_the_months_in_question(url: str) -> None:
    tamper(url, "UPDATE rollup.cluster_daily SET total_cost = total_cost + 1 WHERE date = %s", MAY)
    assert usage_jobs("reconcile", "--from", "2026-06-01", url=url).code == 0
    assert usage_jobs("reconcile", "--to", "2026-05-31", url=url).code == 6
    nothing = usage_jobs("reconcile", "--from", "2026-07-01", url=url)
    assert nothing.code == 2
    assert "no run has covered a month of these days" in nothing.err


@pytest.mark.thorough
def test_a_closed_month_is_priced_anew_where_its_days_are_asked_for(url: str) -> None:
    assert usage_jobs("run", url=url, today=date(2026, 7, 5)).code == 3
    tamper(url, "UPDATE rollup.user_monthly SET cpu_hours_cost = 0 WHERE user_id = 'ada' AND month = '2026-06-01'")
    days = ("--from", "2026-06-01", "--to", "2026-06-30")
    assert (
        "ada 2026-06"
        in broken(usage_jobs("reconcile", "--json", *days, url=url))["2 user-months, computed again = roll-up"]
    )


def test_a_shape_with_two_decimals_and_a_generated_balance(make_database: Callable[..., str], tmp_path: Path) -> None:
    configured(tmp_path)
    database = applied(make_database("b"))
    account(database, "ada", total_purchased=3)
    add_usage(database, cpu_hours=7)
    assert usage_jobs("run", url=database).code == 0
    [drawn] = ask(database, "SELECT sum(free + purchased) AS drawn FROM rollup.credit_draws")
    assert drawn == {"drawn": Decimal("0.7")}
    ran = reconciled(database)
    assert (ran.code, broken(ran)) == (0, {})


def test_a_shape_without_transactions_and_credits_deducted(make_database: Callable[..., str]) -> None:
    config = str(Path(__file__).parents[2] / "config" / "examples" / "shape-c" / "settings.toml")
    database = make_database("c")
    assert usage_jobs("schema", "--apply", "--config", config, url=database).code == 0
    account(database, "ada", total_purchased=3)
    add_row(database, opencost_cpu_hours=7)
    assert usage_jobs("run", "--config", config, url=database).code == 0
    [drawn] = ask(database, "SELECT sum(free + purchased) AS drawn FROM rollup.credit_draws")
    assert drawn["drawn"] > 0
    ran = usage_jobs("reconcile", "--json", "--config", config, url=database)
    assert (ran.code, broken(ran)) == (0, {})
    tamper(database, "UPDATE user_credits SET total_used = 0, free_credits_used = 0")
    ran = usage_jobs("reconcile", "--json", "--config", config, url=database)
    assert (ran.code, broken(ran)) == (6, {"4 drawn by us <= used in user_credits": ["ada"]})
