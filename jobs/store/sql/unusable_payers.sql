-- Users whose accounts cannot be computed with, and who have draws or uncovered usage in some months: what these months
-- come to for them is not known.
SELECT a.user_id FROM {accounts} AS a
WHERE NOT {usable} AND (
  EXISTS (SELECT FROM {user_monthly} AS u
          WHERE u.user_id = a.user_id AND u.month = ANY(%(months)s::date[])
            AND (u.uncovered <> 0 OR u.credits_deducted <> 0))
  OR EXISTS (SELECT FROM {draws} AS d WHERE d.user_id = a.user_id AND {days}
             GROUP BY d.usage_daily_id HAVING sum(d.free) <> 0 OR sum(d.purchased) <> 0))
ORDER BY 1 LIMIT 10
