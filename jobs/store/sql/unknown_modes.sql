-- Billing modes that are none of the three: how many users have each, and the first of them.
SELECT billing_mode::text, count(*), min(id::text) FROM {users}
WHERE billing_mode::text NOT IN ('prepaid', 'postpaid', 'free') GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3
