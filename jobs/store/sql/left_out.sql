-- Months of which not all can be judged: not in user_daily yet, or with days that are not regrouped yet, which these are.
SELECT month, is_bare, days
FROM (
  SELECT m.month, m.fingerprint IS NULL AS is_bare,
    ARRAY(SELECT DISTINCT t.date FROM {touched_days} AS t WHERE date_trunc('month', t.date) = m.month ORDER BY 1) AS days
  FROM {months} AS m WHERE m.month = ANY(%s::date[])
) AS m WHERE is_bare OR days <> '{{}}' ORDER BY month
