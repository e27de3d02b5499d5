"""The read-only commands: check, reconcile, watch (``closed_months``), explain, and lists of runs and debts.

Nothing here writes. Recomputations use the code of a run (``jobs.pipeline``).
"""
