-- Balances that moved between two transactions of ours: other programs have posted there.
SELECT count(*) FROM (
  SELECT balance_before - lag(balance_after) OVER (PARTITION BY user_id ORDER BY created_at, amount DESC) AS gap
  FROM {transactions} WHERE {ours}
) AS g WHERE gap <> 0
