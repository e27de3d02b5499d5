"""What usage costs: tiers, price overrides, charges, row costs. Pure: frame in, frame out.

Quantities and amounts are integers of 128 bits that count units of 10^-10 (``domain.fixed_point_columns``): a product
of the largest quantity and the largest price stays below 2^127 (``domain.rate_card``).
There is no default price. Who pays for a cost is decided in ``jobs.credits``.
"""
