"""Every table in narrow and wide terminals: ids, numbers and status words stay whole, and no line ends in a blank."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from jobs.audit.closed_months import ClosedMonth
from jobs.audit.explanation import DayCost, ExplainedRow, Explanation, PaymentSplit, PricedQuantity, Rejected
from jobs.cli import audit_commands, explain_output, output, run_commands, run_output, service_commands, setup_commands
from jobs.demo.demo import Outcome
from jobs.domain.run_report import Change, CreditSummary, LedgerTotals, MonthChange, PlanReport, Report
from jobs.postgres.debts import Debt
from jobs.postgres.invariants import InvariantCheck

USER = "google-oauth2|:heart:[bold]-" + "0123456789-" * 9
ID = "5f3a1c2e-7b64-4d8f-9a10-cbe2d4f6a801"
BIG, OTHER = Decimal("123456789.2345678901"), Decimal("123456789.2346")
BIG_TEXT, COUNT, COUNT_TEXT = "123,456,789.23", 9_876_543_210, "9,876,543,210"
MONTH, DAY = date(2026, 6, 1), date(2026, 6, 30)
PIECE = PricedQuantity("storage_gb", BIG, Decimal(10), BIG, 1000, Decimal(5), 30, BIG, f"override {ID}")
PAID = PaymentSplit("prepaid", BIG, BIG, BIG, Decimal(0), Decimal(0))
LINE = ExplainedRow(ID, DAY, ID, (PIECE,), {"storage_gb": BIG}, BIG, BIG, Decimal("-0.1"), PAID)
EXPLANATION = Explanation(
    *(USER, MONTH, "recorded", "USD", DAY, True, {"storage_gb": "GB"}, (LINE,)),
    *((Rejected(ID, DAY, None, f"user_id {USER} is unknown"),), (DayCost(DAY, ID, BIG, OTHER),)),
    *({"total_cost": BIG}, {"total_cost": OTHER}),
)
TOTALS = LedgerTotals(1, BIG)
CREDITS = CreditSummary(1, BIG, BIG, TOTALS, TOTALS, 1, BIG, BIG, 1, BIG, BIG, BIG, BIG, "rounding difference", 1)
CHANGE = Change(MONTH, USER, "usage+price+override", BIG, OTHER, BIG, BIG, *[None] * 6)
PLAN = PlanReport("0" * 24, (MonthChange(MONTH, True, "USD", 1234, BIG, OTHER, BIG, BIG),), (CHANGE,))
REPORT = Report(
    *(
        1,
        "backfill",
        MONTH,
        DAY,
        (MONTH,),
        (),
        COUNT,
        COUNT,
        COUNT,
        COUNT,
        {"credit_draws": COUNT},
        BIG,
        CREDITS,
        "USD",
    ),
    *("/a/" + USER, "/b/" + USER, {"check": 1.0}, (f"override {ID} of user {USER} ignored",), False),
    plan=PLAN,
)
RUN = {
    "run_id": COUNT,
    "kind": "write-off",
    "status": "crashed",
    "window_from": MONTH,
    "window_to": DAY,
    "started_at": datetime(2026, 6, 30, 2, 30, tzinfo=UTC),
    "finished_at": datetime(2026, 6, 30, 9, 0, tzinfo=UTC),
    "rows_read": COUNT,
    "rows_rejected": COUNT,
    "rows_changed": COUNT,
    "total_cost": BIG,
    "who": USER,
    "settings_file": "/a/" + USER,
    "rates_file": ID,
    "reason": f"for {USER}",
    "error": f"row {ID}",
}
CHECKS = [
    InvariantCheck("1 total cost by user = by cluster and day", BIG, OTHER, 1, (USER,), (f"{ID} is missing",)),
    InvariantCheck("users set aside", COUNT, "", broken_keys=(USER,), differences=(ID,), is_judged=False),
]
REJECT = {"row": ID, "user_id": USER, "reason": "cpu_hours is 100000000.01: expected a number from 0 to 100000000"}
DEMO = Outcome([REPORT], {"rejects": [REJECT], "user_monthly": [{"user_id": USER, "due": BIG}]}, [])
TABLES: dict[str, tuple[Callable[[], output.Result], tuple[str, ...]]] = {
    "runs": (lambda: service_commands.describe_runs([RUN]), (COUNT_TEXT, BIG_TEXT, "crashed", "write-off", USER, ID)),
    "report": (
        lambda: run_output.describe_report(REPORT),
        (COUNT_TEXT, BIG_TEXT, USER, ID, "usage+price+override", ".23460"),
    ),
    "explain": (
        lambda: explain_output.describe_explanation(EXPLANATION),
        (USER, ID, "123,456,789.2345678901"),
    ),
    "reconcile": (lambda: audit_commands.describe_checks(CHECKS), (USER, ID, "BROKEN 1", COUNT_TEXT)),
    "watch": (
        lambda: audit_commands.describe_closed_months(
            [ClosedMonth(MONTH, COUNT, COUNT, BIG, BIG, 1, {"usage": COUNT}, True, "USD")]
        ),
        (COUNT_TEXT, BIG_TEXT, f"{COUNT_TEXT} by usage"),
    ),
    "demo": (lambda: output.Result({}, setup_commands.outcome_lines(DEMO)), (USER, ID, BIG_TEXT, "100000000.01:")),
    "debts": (
        lambda: run_commands.describe_debts(
            [Debt(UUID(ID), USER, DAY, BIG, Decimal(0), Decimal(1), f"as {ID} says")], "USD"
        ),
        (USER, ID, BIG_TEXT, "2026-06-30", "1 user"),
    ),
}


@pytest.mark.parametrize("columns", [80, 100, 140])
@pytest.mark.parametrize("table", TABLES)
def test_nothing_is_folded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int, table: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    describe, wholes = TABLES[table]
    output.print_result(describe(), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    for whole in wholes:
        assert any(whole in line for line in lines), whole
    assert all(line == line.rstrip() for line in lines)
    # An id may be longer than the terminal; a command is in one line, to be copied.
    assert [line for line in lines if len(line) > columns and USER not in line and "usage-jobs " not in line] == []
