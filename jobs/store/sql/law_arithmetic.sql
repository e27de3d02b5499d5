-- Each of our transactions adds up, and no draw leaves less than nothing.
SELECT id::text AS key, balance_before + amount AS left_, balance_after AS right_,
  CASE WHEN balance_before + amount <> balance_after OR balance_after < 0 AND amount < 0 THEN
    'balance_before + amount is ' || balance_before + amount || ', balance_after is ' || balance_after END AS difference
FROM {transactions} WHERE {ours}
