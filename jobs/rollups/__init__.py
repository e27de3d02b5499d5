"""Roll-ups of rated rows (user_daily, user_monthly), how they differ from what is stored, and why. Pure.

The cluster tables are grouped by the server (``jobs.postgres.cluster_rollups``); nothing is written here.
"""
