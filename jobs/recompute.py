"""What stands, computed anew from usage as a run would, and judged: the laws that no sum over tables can tell.

Usage, prices and accounts move on after a run, and that breaks no law: a user-month is judged only where the hashes of
what it was computed from are still the same; the others are counted, and the next run takes them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import polars as pl

from jobs.compute import credits, postings, rollup
from jobs.compute.billing import PREPAID
from jobs.figures import priced, user_months
from jobs.model.frames import DRAWS, MODES, usage_schema
from jobs.model.scale import unscaled
from jobs.plan import Plan
from jobs.reading import Reading, read_own, read_usage
from jobs.store import accounts
from jobs.store.address import Address
from jobs.store.database import Connection
from jobs.store.laws import Law
from jobs.store.runlog import Booked
from jobs.store.spill import Chunk, Spill
from jobs.strange import imports, of_window, strange_rows
from jobs.sums import by_month_of

INPUTS = ["usage_hash", "rates_hash", "overrides_hash"]
PAYING = ("uncovered", "amount_due", "amount_reported")
FIRST_TEN = 10


@dataclass(slots=True)
class Found:
    """What computing anew has found: by law both sums (units of 10^-10) and culprits, and what could not be judged."""

    left: dict[str, int] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)
    culprits: dict[str, list[str]] = field(default_factory=dict)
    same: int = 0
    stale: int = 0
    months: list[pl.DataFrame] = field(default_factory=list)

    def add(self, law: str, rows: pl.DataFrame, left: pl.Expr, right: pl.Expr, key: pl.Expr) -> None:
        """Takes rows of which ``left`` must be ``right``."""
        judged = rows.select(left.cast(pl.Int128).alias("left"), right.cast(pl.Int128).alias("right"), key.alias("key"))
        self.left[law] = self.left.get(law, 0) + int(judged["left"].sum())
        self.right[law] = self.right.get(law, 0) + int(judged["right"].sum())
        bad = judged.filter(pl.col("left").ne_missing(pl.col("right")))["key"].sort().to_list()
        self.culprits.setdefault(law, []).extend(bad)

    def laws(self, booked: Booked) -> Iterator[Law]:
        """One line per law."""
        for law, left in self.left.items():
            shown = (left, self.right[law]) if law == SAME else (unscaled(left), unscaled(self.right[law]))
            bad = sorted(self.culprits[law])
            yield Law(law, shown[0], shown[1], len(bad), tuple(bad[:FIRST_TEN]))
        if self.months:
            yield _rows(pl.concat(self.months), booked)


COSTS, SAME, PAID, OVER, POSTED, ROWS = (
    "1 cost of the rows, priced anew = roll-up",
    "2 user-months, computed anew = roll-up",
    "3 drawn + uncovered + due + reported = quantized cost",
    "3 drawn of a row <= its part of the cost",
    "5 draws as computed anew = ledger",
    "6 rows accepted now = rows booked, in unchanged months",
)


def recomputed(connection: Connection, address: Address, plan: Plan, found: Found, *, draws: bool) -> Reading:
    """Every user's months of ``plan`` computed anew; ``draws``: the months are one window, whose draws are too."""
    with Spill(plan.settings.max_rows_per_chunk) as spill:
        reading = read_usage(connection, address, plan, spill, lambda *_: None)
        read_own(connection, plan, spill)
        for piece in spill.chunks():
            _judge(connection, plan, found, taken(spill, piece), draws=draws)
    return reading


@dataclass(frozen=True, slots=True)
class Stood:
    """A chunk's users as they are now: priced ``rows``, how they ``paid`` by the draws that stand in the ledger
    (``booked``), their accounts ``held``, the modes' history ``paying``, and the user-months that stand."""

    rows: pl.DataFrame
    paid: pl.DataFrame
    booked: pl.LazyFrame
    held: pl.DataFrame
    paying: pl.LazyFrame
    months: pl.DataFrame | None


def stood(connection: Connection, plan: Plan, kinds: Mapping[str, pl.LazyFrame | None]) -> Stood:
    """In: what the spill has of a chunk, by kind."""
    empty: dict[str, Any] = {"usage": usage_schema([m.name for m in plan.meters]), "modes": MODES, "draws": DRAWS}
    usage, paying, booked = (
        pl.LazyFrame(schema=empty[kind]) if (frame := kinds[kind]) is None else frame for kind in empty
    )
    rows = priced(usage, plan)
    booked = of_window(booked, rows, plan)
    booked = pl.concat([booked, imports(strange_rows(connection, plan, rows, booked)).lazy()])
    users = pl.concat([rows.lazy().select(pl.col("user_id").cast(pl.String)), booked.select("user_id")]).unique()
    held = accounts.read(connection, plan.settings, plan.query.read.credits, users.collect()["user_id"].to_list())
    paid = credits.as_booked(rows.lazy(), paying, booked, plan.credit_rules).collect()
    there = kinds["standing"]
    return Stood(rows, paid, booked, held, paying, None if there is None else there.collect())


def taken(spill: Spill, piece: Chunk) -> dict[str, pl.LazyFrame | None]:
    """What the spill has of a chunk, by kind."""
    return {kind: spill.take(piece, kind) for kind in ("usage", "standing", "modes", "draws")}


def _judge(
    connection: Connection, plan: Plan, found: Found, kinds: Mapping[str, pl.LazyFrame | None], *, draws: bool
) -> None:
    now = stood(connection, plan, kinds)
    rows, standing, booked, held = now.rows, now.paid, now.booked, now.held
    computed = standing
    if draws:
        computed = credits.credited(rows.lazy(), now.paying, held.lazy(), booked, plan.credit_rules).collect()
    target = user_months(computed, held, plan).collect()
    stands = target.clear().drop("rows", "unpriced") if now.months is None else now.months
    priced_same, same, whole = _unchanged(target, stands, draws=draws)
    found.stale += pl.concat([target.select("user_id", "month"), stands.select("user_id", "month")]).unique().height
    found.stale -= same.height
    found.same += same.height
    found.months.append(by_month_of(target))
    # Of a closed month, accounts and what was reported have moved on lawfully since.
    moved_on = set() if draws else {*PAYING, "credits_hash"}
    columns = [name for name in stands.columns if name not in moved_on]
    _judge_months(found, target.join(same, on=["user_id", "month"], how="semi"), stands.select(columns))
    _judge_rows(found, standing.with_columns(known=_known(standing, held)), stands, priced_same)
    if draws:
        due = postings.postings(computed.lazy(), held.lazy(), booked).collect().join(whole, on="user_id", how="semi")
        key = pl.col("user_id") + " " + pl.col("id").map_elements(_uuid, return_dtype=pl.String)
        zero = pl.lit(0)
        found.add(POSTED, due, pl.col("free") + pl.col("purchased"), zero, key)


def _rows(parts: pl.DataFrame, booked: Booked) -> Law:
    now = {row["month"]: row for row in rollup.added(parts.lazy(), ["month"]).collect().iter_rows(named=True)}
    same = [month for month, row in now.items() if row["usage_hash"] % 2**63 == booked.hashes[month]]
    bad = [f"{month:%Y-%m}" for month in same if now[month]["rows"] != booked.rows[month]]
    left, right = sum(now[month]["rows"] for month in same), sum(booked.rows[month] for month in same)
    return Law(ROWS, left, right, len(bad), tuple(bad))


def _uuid(number: int) -> str:
    return str(UUID(int=number))


def _known(rows: pl.DataFrame, held: pl.DataFrame) -> pl.Series:
    return rows["user_id"].cast(pl.String).is_in(held["user_id"].to_list())


def _unchanged(
    target: pl.DataFrame, stands: pl.DataFrame, *, draws: bool
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """User-months that cost what they did; those of which draws and accounts are as they were too; users of whom
    every month is so."""
    keys = ["user_id", "month"]
    every = pl.concat([target.select(keys), stands.select(keys)]).unique()
    same = [
        target.select(*keys, *inputs).join(stands.select(*keys, *inputs), on=[*keys, *inputs], nulls_equal=True)
        for inputs in (INPUTS, [*INPUTS, "credits_hash"])
    ]
    priced_same, all_same = (frame.select(keys) for frame in same)
    if not draws:
        return priced_same, priced_same, every.clear()
    # All open months are one draw window: what changed in one may move draws in another.
    changed = every.join(all_same, on=keys, how="anti").select("user_id").unique()
    whole = every.select("user_id").unique().join(changed, on="user_id", how="anti")
    return priced_same, all_same.join(whole, on="user_id", how="semi"), whole


def _judge_months(found: Found, target: pl.DataFrame, stands: pl.DataFrame) -> None:
    keys = ["user_id", "month"]
    key = pl.col("user_id") + " " + pl.col("month").dt.strftime("%Y-%m")
    both = target.join(stands, on=keys, suffix="_held")
    found.add(COSTS, both, pl.col("total_cost"), pl.col("total_cost_held"), key)
    columns = [name for name in stands.columns if name not in keys]
    equal = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_held")) for name in columns)
    found.add(SAME, both, pl.lit(1), equal, key)


def _judge_rows(found: Found, rows: pl.DataFrame, stands: pl.DataFrame, same: pl.DataFrame) -> None:
    """Law 3 with the draws that stand in the ledger; it asks nothing of accounts, so that they may have moved on."""
    keys = ["user_id", "month"]
    theirs = rows.with_columns(pl.col("user_id").cast(pl.String)).join(same, on=keys, how="semi")
    drawn, parts = pl.col("free") + pl.col("purchased"), pl.col("part") + pl.col("due_part")
    # Whose account is gone keeps what was booked, and what was reported was invoiced with its draws.
    mine = theirs.filter((pl.col("class") == PREPAID) & ~pl.col("reported") & pl.col("known"))
    key = pl.col("user_id") + " " + pl.col("id").map_elements(_uuid, return_dtype=pl.String)
    found.add(OVER, mine, pl.min_horizontal(drawn, "part"), drawn, key)
    # What was invoiced elsewhere, or drawn by another program, may be more than the row costs now.
    whole = theirs.group_by(keys).agg(pl.max_horizontal(parts, drawn).sum().alias("whole"))
    paid = pl.col("credits_deducted") + pl.col("uncovered") + pl.col("amount_due") + pl.col("amount_reported")
    key = pl.col("user_id") + " " + pl.col("month").dt.strftime("%Y-%m")
    # Months of the first version say nothing of what is due.
    computed = stands.filter(pl.col("uncovered").is_not_null())
    found.add(PAID, whole.join(computed, on=keys), pl.col("whole"), paid, key)
