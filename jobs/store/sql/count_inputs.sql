-- Accounts and price overrides as they are, and as the last finished run counted them.
SELECT {accounts}, {overrides}, r.accounts, r.overrides
FROM (SELECT) AS one LEFT JOIN (
  SELECT accounts, overrides FROM {runs}
  WHERE kind IN ('run', 'backfill') AND status = 'done' ORDER BY run_id DESC LIMIT 1
) AS r ON true
