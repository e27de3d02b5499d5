"""The read-only commands: check, reconcile, watch (``closed_months``), explain.

Nothing here writes. Recomputations use the code of a run (``jobs.pipeline``).
"""
