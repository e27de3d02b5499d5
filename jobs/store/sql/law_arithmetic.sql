-- Each of our transactions adds up, and no draw leaves less than nothing.
SELECT id::text AS key, balance_before + amount AS left_,
  CASE WHEN balance_after >= 0 OR amount >= 0 THEN balance_after END AS right_
FROM {transactions} WHERE {ours}
