"""What usage costs: tiers, price overrides, charges, row costs. Pure: frame in, frame out.

Quantities and amounts are integers that count units of 10^-10 (``domain.fixed_point``). They are Int128 where they are
summed or multiplied: a product of the largest quantity and the largest price stays below 2^127 (``domain.rate_card``).
There is no default price. Who pays for a cost is decided in ``jobs.credits``.
"""
