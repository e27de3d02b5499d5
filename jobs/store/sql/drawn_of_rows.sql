-- What the whole ledger, closed months included, says of some rows, by user; and whether another program began it.
SELECT usage_daily_id, user_id, sum(free + purchased), bool_or(revision = 0)
FROM {draws} WHERE usage_daily_id = ANY(%(ids)s::uuid[]) GROUP BY 1, 2
