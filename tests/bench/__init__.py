"""usage-jobs beside its peers on the same usage: `python tests/bench` (see __main__.py)."""
