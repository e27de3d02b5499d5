"""All results in pandas and numpy: prices, running totals, draws, sums, over columns of whole numbers.

Rows are sorted once, by user, day and cluster; what runs over a user, a month or a day is then a difference of
cumulated sums. int64 wraps around, and differences come out exact all the same.
"""

from collections.abc import Mapping
from datetime import date

import numpy as np  # type: ignore[import-not-found, unused-ignore]
import pandas as pd  # type: ignore[import-not-found, import-untyped, unused-ignore]

from bench.prices import FLOWS, ONE, Prices, Step
from bench.same import AMOUNTS, METERS

Results = Mapping[str, pd.DataFrame]
"""By section of same.py its columns, in their order."""
CENT = ONE // 100
CALLS = ("feature_store_api_calls", "model_inference_calls")


def computed(usage: pd.DataFrame, accounts: pd.DataFrame, first: date, prices: Prices) -> Results:
    """Every result. In: ``usage`` with ``day`` counted from ``first``; ``accounts`` of prepaid users, in cents."""
    rows = _ordered(usage, first)
    _price(rows, prices)
    _draw(rows, accounts)
    months, present = _months(rows, accounts)
    clusters = _clusters(rows)
    rows["credits_deducted"] = (rows["free"] + rows["purchased"]) * CENT
    each = rows[["id", "total_cost", "credits_deducted"]].sort_values("id")
    return {"months": months, "clusters": clusters, "cluster_months": _cluster_months(clusters, present), "rows": each}


def _ordered(usage: pd.DataFrame, first: date) -> pd.DataFrame:
    """In row order, with month (its first day), month_days, and where a user, a month or a day of theirs starts."""
    for call in CALLS:
        usage[call] *= ONE
    usage["cluster_id"] = usage["cluster_id"].cat.set_categories(sorted(usage["cluster_id"].cat.categories))
    usage["user_id"] = usage["user_id"].cat.set_categories(sorted(usage["user_id"].cat.categories))
    clusters = len(usage["cluster_id"].cat.categories) + 1
    cluster = usage["cluster_id"].cat.codes.to_numpy().astype(np.int64)
    cluster[cluster < 0] = clusters - 1  # rows without a cluster come last
    user, day = usage["user_id"].cat.codes.to_numpy().astype(np.int64), usage["day"].to_numpy().astype(np.int64)
    place = (user * (day.max() + 1) + day) * clusters + cluster
    order = np.argsort(place, kind="stable")
    if (np.diff(place[order]) == 0).any():  # only then do ids decide
        order = np.lexsort((usage["id"].to_numpy().astype(str), place))
    rows = usage.take(order).reset_index(drop=True)
    return _starts(rows, first)


def _starts(rows: pd.DataFrame, first: date) -> pd.DataFrame:
    days = pd.date_range(first, periods=int(rows["day"].max()) + 1)
    number, of_month = rows["day"].to_numpy(), days.to_period("M").to_timestamp()
    rows["month_number"] = pd.factorize(of_month)[0].astype(np.int16)[number]
    rows["month_days"] = days.days_in_month.to_numpy().astype(np.int64)[number]
    user, cluster = rows["user_id"].cat.codes.to_numpy(), rows["cluster_id"].cat.codes.to_numpy()
    rows["new_user"] = _changes(user)
    rows["new_month"] = rows["new_user"] | _changes(rows["month_number"].to_numpy())
    rows["new_day"] = rows["new_user"] | _changes(number)
    rows["new_cluster"] = rows["new_day"] | _changes(cluster)
    rows.attrs["days"] = days.strftime("%Y-%m-%d").to_numpy()
    rows.attrs["months"] = of_month.unique().strftime("%Y-%m-%d").to_numpy()
    return rows


def _changes(values: np.ndarray) -> np.ndarray:
    differ: np.ndarray = np.concatenate(([True], values[1:] != values[:-1]))
    return differ


def _before(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The running total before each row, anew from each row where ``starts`` is true."""
    running = np.cumsum(values) - values
    since: np.ndarray = running - running[starts][np.cumsum(starts) - 1]
    return since


def _half_even(numerator: np.ndarray, denominator: np.ndarray | int) -> np.ndarray:
    floor = numerator // denominator
    twice = 2 * (numerator - floor * denominator)
    rounded: np.ndarray = floor + ((twice > denominator) | ((twice == denominator) & (floor % 2 == 1)))
    return rounded


def _price(rows: pd.DataFrame, prices: Prices) -> None:
    for meter in FLOWS:
        price = prices.flows[meter]
        rows[f"{meter}_cost"] = _half_even(rows[meter].to_numpy() * price.numerator, price.denominator)
    stored = rows["storage_gb"].to_numpy()
    before = _before(stored, rows["new_day"].to_numpy())
    owed = _owed(before + stored, prices.storage)
    if before.any():
        owed = owed - _owed(before, prices.storage)
    rows["storage_gb_cost"] = _half_even(owed, rows["month_days"].to_numpy() * prices.per_storage)
    rows["total_cost"] = sum(rows[f"{meter}_cost"].to_numpy() for meter in METERS)


def _owed(total: np.ndarray, steps: tuple[Step, ...]) -> np.ndarray:
    """The price of a month of ``total`` units of storage, times ``per_storage``."""
    step = np.searchsorted(np.array([step.start for step in steps[1:]]), total, side="left")
    by, less = np.array([step.by for step in steps]), np.array([step.less for step in steps])
    owed: np.ndarray = total * by[step] - less[step]
    return owed


def _draw(rows: pd.DataFrame, accounts: pd.DataFrame) -> None:
    """Adds ``free`` and ``purchased``, the draws of each row, in cents."""
    users = rows["user_id"].cat.categories
    left = {name: np.zeros(len(users), np.int64) for name in ("free", "purchased")}
    known = users.get_indexer(accounts["user_id"])
    prepaid = np.zeros(len(users), bool)
    prepaid[known[known >= 0]] = True
    free, bought = accounts["free"] + accounts["own_free"], accounts["bought"] + accounts["own_purchased"]
    left["free"][known[known >= 0]] = (free + bought.clip(upper=0)).clip(lower=0).to_numpy()[known >= 0]
    left["purchased"][known[known >= 0]] = (bought + free.clip(upper=0)).clip(lower=0).to_numpy()[known >= 0]
    code, starts = rows["user_id"].cat.codes.to_numpy(), rows["new_user"].to_numpy()
    cost = np.where(prepaid[code], rows["total_cost"].to_numpy(), 0)
    before = _before(cost, rows["new_month"].to_numpy())
    demand = _half_even(before + cost, CENT) - _half_even(before, CENT)
    for lot, balances in left.items():
        asked, most = _before(demand, starts), balances[code]
        rows[lot] = np.minimum(asked + demand, most) - np.minimum(asked, most)
        demand = demand - rows[lot].to_numpy()


def _months(rows: pd.DataFrame, accounts: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Months of users; and how many users each cluster had in each month."""
    at = np.flatnonzero(rows["new_month"].to_numpy())
    heads = rows.loc[at, ["user_id", "month_number", "month_days"]].reset_index(drop=True)
    sums = {name: np.add.reduceat(rows[name].to_numpy(), at) for name in [*AMOUNTS, "free", "purchased"]}
    sums["storage_gb"] = _half_even(sums["storage_gb"], heads["month_days"].to_numpy())
    cents = _half_even(sums["total_cost"], CENT)
    prepaid = heads["user_id"].isin(accounts["user_id"]).to_numpy()
    months = pd.DataFrame(
        {
            "month": rows.attrs["months"][heads["month_number"]],
            "user_id": heads["user_id"].astype(str),
            "days": np.add.reduceat(rows["new_day"].to_numpy().astype(np.int64), at),
            **{name: sums[name] for name in AMOUNTS},
            "credits_free": sums["free"] * CENT,
            "credits_purchased": sums["purchased"] * CENT,
            "uncovered": np.where(prepaid, cents - sums["free"] - sums["purchased"], 0) * CENT,
            "amount_due": np.where(prepaid, 0, cents) * CENT,
        }
    )
    there = rows[["user_id", "month_number", "cluster_id"]].drop_duplicates()
    counted = there.groupby(["month_number", "cluster_id"], observed=True, dropna=False)
    present = counted.size().reset_index(name="users")
    present.insert(0, "month", rows.attrs["months"][present.pop("month_number")])
    return months.sort_values(["month", "user_id"], kind="stable"), present


def _clusters(rows: pd.DataFrame) -> pd.DataFrame:
    each = rows.assign(users=rows["new_cluster"].astype(np.int64), credits_deducted=rows["free"] + rows["purchased"])
    names = ["users", *AMOUNTS, "credits_deducted"]
    sums = each.groupby(["day", "cluster_id"], observed=True, dropna=False)[names].sum().reset_index()
    sums["credits_deducted"] *= CENT
    sums.insert(0, "date", rows.attrs["days"][sums.pop("day")])
    return sums.sort_values(["date", "cluster_id"], na_position="last")


def _cluster_months(clusters: pd.DataFrame, present: pd.DataFrame) -> pd.DataFrame:
    names = [*AMOUNTS, "credits_deducted"]
    month = clusters["date"].str[:8] + "01"
    grouped = clusters.assign(month=month).groupby(["month", "cluster_id"], observed=True, dropna=False)
    # A month of a large cluster passes 2^63: its few sums are Python's own whole numbers.
    exact = grouped[names].agg(lambda values: sum(map(int, values)))
    sums = exact.assign(max_users=grouped["users"].max()).reset_index()
    sums = sums.merge(present.rename(columns={"users": "active_users"}), on=["month", "cluster_id"])
    days = pd.to_datetime(sums["month"]).dt.days_in_month
    sums["storage_gb"] = [_divided(total, int(by)) for total, by in zip(sums["storage_gb"], days, strict=True)]
    parts = zip(sums["total_cost"], sums["active_users"], strict=True)
    sums["cost_per_user"] = [_divided(total, int(by)) for total, by in parts]
    columns = ["month", "cluster_id", "active_users", "max_users", *names, "cost_per_user"]
    return sums.sort_values(["month", "cluster_id"], na_position="last")[columns]


def _divided(numerator: int, denominator: int) -> int:
    """Rounded half to even."""
    floor, rest = divmod(int(numerator), denominator)
    return floor + (2 * rest > denominator or (2 * rest == denominator and floor % 2 == 1))
