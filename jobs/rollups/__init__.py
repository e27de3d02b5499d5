"""Roll-ups of rated rows (user_daily, user_monthly, cluster_monthly), how they differ from stored rows, and why. Pure.

The server computes the sums of cluster_daily (``jobs.postgres.cluster_rollups``).
"""
