"""What usage costs: tiers, price overrides, charges, row costs. Pure: frame in, frame out.

Quantities and amounts are integers of 10^-10 (``domain.fixed_point``), held as Int128 where they are summed or
multiplied: a product of the largest quantity and the largest price stays below 2^127 (``domain.rate_card``).
No database and no default price; who pays for a cost is in ``jobs.credits``.
"""
