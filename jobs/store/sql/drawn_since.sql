-- By user-month our own draws since it was written last: what an account has changed besides them, others have changed.
SELECT s.month, s.user_id, coalesce(sum(d.free), 0) AS free, coalesce(sum(d.purchased), 0) AS purchased
FROM unnest(%(months)s::date[], %(users)s::text[]) AS s(month, user_id)
JOIN {user_monthly} AS u ON u.month = s.month AND u.user_id = s.user_id
LEFT JOIN {draws} AS d ON d.user_id = u.user_id AND d.run_id > u.run_id
  AND NOT d.imported  -- an adopted draw changed no account
  AND d.run_id IS DISTINCT FROM %(run_id)s::bigint
GROUP BY s.month, s.user_id
