"""Shares of a payment among the charges that it pays for: by cost, exact, by the method of the largest remainder."""

from collections.abc import Sequence


def share_by_cost(amount: int, costs: Sequence[int]) -> list[int]:
    """Returns a share of ``amount`` for each of ``costs``, in proportion to it; the shares add up to ``amount``.

    Each share is rounded down; the units that are left go to the largest remainders, the first one where these are
    equal. Where the costs add up to 0, the last one gets all. A negative cost gets a negative share.
    """
    total = sum(costs)
    if not amount or not costs:
        return [0] * len(costs)
    if amount == total:
        return list(costs)
    if not total:
        return [0] * (len(costs) - 1) + [amount]
    parts = [divmod(amount * cost, total) for cost in costs]
    shares = [quotient for quotient, _ in parts]
    left = amount - sum(shares)
    for n in sorted(range(len(parts)), key=lambda n: abs(parts[n][1]), reverse=True)[:left]:
        shares[n] += 1
    return shares


def share_columns(amounts: Sequence[int], sizes: Sequence[int], costs: Sequence[int]) -> list[int]:
    """Returns ``share_by_cost`` of each of ``amounts`` among its charges, one list for all.

    ``sizes``: how many of ``costs`` belong to each amount, in order.
    """
    shares: list[int] = []
    start = 0
    for amount, size in zip(amounts, sizes, strict=True):
        shares += share_by_cost(amount, costs[start : start + size]) if amount else [0] * size
        start += size
    return shares
