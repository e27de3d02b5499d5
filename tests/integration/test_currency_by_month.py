"""A month keeps the currency of its first run; no sum mixes two."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from commands import applied, ask, usage_jobs
from prepaid import night, row, user

JUNE_3, JULY_2 = date(2026, 6, 3), date(2026, 7, 2)
EUR: dict[str, Any] = {"USAGE_JOBS_START": "2026-05", "USAGE_JOBS_CURRENCY": "EUR"}
USD: dict[str, Any] = EUR | {"USAGE_JOBS_CURRENCY": "USD"}
KEEPS = "2026-06 keeps currency = 'EUR', that of its first run; the setting 'USD' holds"
APART = "2026-06 is in EUR: its total cost, 3.00 EUR, is not in the sums, which are in USD"


def currencies(url: str) -> list[tuple[int, str, str]]:
    text = "SELECT month, u.currency, m.currency AS kept FROM rollup.user_monthly AS u JOIN rollup.months AS m"
    text += " USING (month)"
    return sorted((row["month"].month, row["currency"], row["kept"]) for row in ask(url, text))


def test_a_month_keeps_its_currency(database: str, tmp_path: Path) -> None:
    applied(database)
    user(database, "ada", "postpaid")
    for number, (day, cost) in enumerate(((date(2026, 5, 9), "2"), (date(2026, 6, 1), "3"), (date(2026, 7, 1), "4"))):
        row(database, number + 1, cost, day)
    assert night(database, today=JUNE_3, **EUR)["currency"] == "EUR"
    # As a version left it that kept no currency of months.
    ask(database, "UPDATE rollup.months SET currency = NULL")
    told = night(database, today=JUNE_3, **USD)
    assert (told["currency"], told["total_cost"], told["changed"]["user_monthly"]) == ("EUR", "5.0000000000", 0)
    assert any(KEEPS in note for note in told["notes"])
    assert currencies(database) == [(5, "EUR", "EUR"), (6, "EUR", "EUR")]

    promised = usage_jobs("run", "--dry-run", "--json", url=database, today=JULY_2, **USD).object
    metrics = tmp_path / "metrics.prom"
    done = night(database, "--metrics-file", str(metrics), today=JULY_2, **USD)
    for report in (promised, done):
        amounts = [Decimal(report["total_cost"]), Decimal(report["credits"]["amount_due"])]
        assert report["currency"] == "USD"
        assert set(amounts) == {Decimal(4)}
        assert {KEEPS in " ".join(report["notes"]), APART in " ".join(report["notes"])} == {True}
    assert done["changed"] == promised["changed"]
    assert 'usage_jobs_total_cost{kind="run"} 4.0' in metrics.read_text(encoding="utf-8")
    assert currencies(database) == [(5, "EUR", "EUR"), (6, "EUR", "EUR"), (7, "USD", "USD")]
    assert night(database, today=JULY_2, **USD)["rows_changed"] == 0

    def shown(*words: str) -> str:
        ran = usage_jobs(*words, url=database, today=JULY_2, **USD)
        assert ran.code == 0, ran.out + ran.err
        return ran.out

    assert "EUR, cost" in shown("explain", "--user", "ada", "--month", "2026-06")
    assert "EUR" in shown("watch", "--all")
    shown("reconcile", "--from", "2026-05-01")
    late = ("backfill", "--from", "2026-06-01", "--to", "2026-07-01", "--full", "--yes")
    assert "2026-06 0 3.00 3.00 0.00 0.00 EUR" in " ".join(shown(*late).split())
    assert currencies(database) == [(5, "EUR", "EUR"), (6, "EUR", "EUR"), (7, "USD", "USD")]
