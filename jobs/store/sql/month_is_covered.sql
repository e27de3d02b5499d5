-- Whether a run has covered a month, ``m`` in rollup.months, or died after it had written something of it.
(m.row_count IS NOT NULL OR m.closed_at IS NOT NULL OR EXISTS (SELECT FROM {user_monthly} AS u WHERE u.month = m.month))
