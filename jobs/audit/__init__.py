"""Read-only proofs and answers: check, reconcile, watch (``closed_months``), explain, and lists of runs and debts.

Nothing here writes. What is computed again goes through the code of a run (``jobs.pipeline``).
"""
