"""The output of `explain`: each row of a user's month, and its sums beside the roll-up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from jobs.cli.output import Bold, Result, lay_out, to_plain, wrap
from jobs.domain.wording import format_figure, format_pair, format_value

if TYPE_CHECKING:
    from jobs.audit.explanation import ExplainedRow, Explanation, PricedQuantity


def describe_explanation(explanation: Explanation) -> Result:
    """Every row of a user's month, and the sums of the rows beside the roll-up."""
    return Result({**to_plain(explanation), "agrees": explanation.agrees}, _explanation_lines(explanation))


def _explanation_lines(explanation: Explanation) -> Iterator[str]:
    month, closed = f"{explanation.month:%Y-%m} to {explanation.last}", ", closed" if explanation.closed else ""
    yield Bold(f"{explanation.user}, {month}, {explanation.currency}, cost mode {explanation.cost_mode}{closed}")
    if not explanation.agrees:
        yield from _difference_lines(explanation)
    tables = [_charges(explanation, line) for line in explanation.lines]
    amounts = iter(_align([amount for table in tables for _, amount in table]))
    for line, table in zip(explanation.lines, tables, strict=True):
        yield f"{line.day}, {_cluster(line.cluster)}, row {line.id}"
        for what, _ in table:
            first = f"  {next(amounts)}  "
            text = wrap(what, first, " " * len(first))
            yield Bold(text) if what.startswith("cost") else text
    for rejected in explanation.rejected:
        yield f"{rejected.day}, {_cluster(rejected.cluster)}, row {rejected.id}"
        yield wrap(f"rejected, not priced: {rejected.reason}", "  ", "  ")
    yield Bold("sums")
    yield from lay_out("<>><", _sums(explanation))
    if owed := explanation.owed:
        amounts = map(format_figure, (owed.uncovered, owed.settled, owed.written_off, owed.open))
        text = "not covered by credit when the month closed: {}; settled since: {}, written off: {}, still owed: {} {}"
        yield wrap(text.format(*amounts, explanation.currency))


def _difference_lines(explanation: Explanation) -> Iterator[str]:
    """Yields the stored cost and the cost as computed now, and the days that differ."""
    stored, now = format_pair(
        *(figures.get("total_cost") for figures in (explanation.rollup, explanation.sums)), none="nothing"
    )
    if explanation.closed:
        days = f"--from {explanation.month} --to {explanation.last}"
        text = (
            f"The month is closed: its stored cost of {stored} does not change. With usage, prices and overrides as "
            f"they are now, which the rows below show, the cost would be {now}. To see what would change: "
            f"usage-jobs backfill {days} --reason TEXT --dry-run"
        )
    else:
        text = (
            f"The roll-up differs: usage, prices or overrides have changed since the run that wrote it. The stored "
            f"cost is {stored}; with the current data, which the rows below show, it is {now}. The next run writes it"
        )
    yield wrap(text)
    for day in explanation.days:
        before, after = format_pair(day.stored, day.now, none="nothing")
        yield wrap(f"{day.day}, {_cluster(day.cluster)}: {before} is stored, {after} now", "  ", "    ")


def _cluster(cluster: str | None) -> str:
    return "no cluster" if cluster is None else f"cluster {cluster[:8]}"


def _charges(explanation: Explanation, line: ExplainedRow) -> list[tuple[str, Decimal]]:
    """What each part of the row's quantity is charged, the row's cost, and how it is paid.

    The amounts above the cost add up to it.
    """
    rows = [(f"{_formula(explanation, piece)} ({piece.because})", piece.charge) for piece in line.pieces]
    if line.adjustment:
        rows.append(("adjustment: recorded cost - charges", line.adjustment))
    rows.append(("cost, as recorded" if line.adjustment or line.recorded == line.cost else "cost", line.cost))
    paid = line.paid
    kinds = {
        "drawn from free credit": paid.free,
        "drawn from purchased credit": paid.purchased,
        "uncovered: no credit left": paid.uncovered,
        f"due ({paid.mode})": paid.amount_due,
        "reported elsewhere": paid.amount_reported,
    }
    ways = [(kind, amount) for kind, amount in kinds.items() if amount]
    return rows + (ways or ([(f"({paid.mode})", Decimal(0))] if line.cost else []))


def _align(amounts: Sequence[Decimal]) -> list[str]:
    """The exact amounts, with two decimals at least, as texts of one length with their points below each other."""
    parts = [_exact(amount).partition(".") for amount in amounts]
    whole, decimals = (max([least, *(len(part[at]) for part in parts)]) for at, least in ((0, 1), (2, 2)))
    return [f"{before:>{whole}}.{after:0<2}".ljust(whole + 1 + decimals) for before, _, after in parts]


def _formula(explanation: Explanation, piece: PricedQuantity) -> str:
    """How the charge of a piece is computed, such as 50 GB above 100 × 0.25 ÷ 30 days."""
    parts = [f"{piece.meter}: {_exact(piece.quantity)} {explanation.units[piece.meter]}"]
    if piece.tier_from:
        parts.append(f"above {_exact(piece.tier_from)}")
    parts.append(f"× {_exact(piece.price)}")
    if piece.per != 1:
        parts.append(f"÷ {piece.per:,}")
    if piece.days is not None:
        parts.append(f"÷ {piece.days} days")
    if piece.discount is not None:
        parts.append(f"- {_exact(piece.discount)} %")
    return " ".join(parts)


def _exact(value: Decimal) -> str:
    return f"{Decimal(format_value(value)):,f}"


def _sums(explanation: Explanation) -> list[tuple[str, str, str, str]]:
    """The sums of the rows beside the roll-up; for a closed month the stored value first, then the value as of now."""
    headings = ("stored", "would be now") if explanation.closed else ("sum of the rows", "roll-up")
    rows = [("column", *headings, "")]
    for name in explanation.sums or explanation.rollup:
        now, stored = format_pair(*(figures.get(name) for figures in (explanation.sums, explanation.rollup)))
        differs = name in explanation.differing
        both = (stored, now if differs else "") if explanation.closed else (now, stored)
        rows.append((name, *both, "DIFFERS" if differs else "equal"))
    return rows
