"""Pure computation: LazyFrame in, LazyFrame out. No clock, no file, no default price; nothing is collected here.

Quantities and amounts are integers of 10^-10 (``jobs.model.scale``), held as Int128 where they are summed or
multiplied: a product of the largest quantity and the largest price stays below 2^127 (``jobs.model.rates``).
"""
