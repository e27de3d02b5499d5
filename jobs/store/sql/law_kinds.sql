-- Law 3: both kinds of credit are all that was drawn.
SELECT user_id || ' ' || to_char(month, 'YYYY-MM') AS key, credits_free + credits_purchased AS left_,
  credits_deducted AS right_
FROM {user_monthly} WHERE month BETWEEN %(first)s AND %(last)s
