-- Until we commit nobody changes these accounts; whose account could not be locked comes back. In one order, so that no
-- two writers wait for each other.
WITH locked AS (
  SELECT user_id FROM {accounts} WHERE user_id = ANY({users}) ORDER BY user_id {lock}
)
SELECT user_id FROM {accounts} WHERE user_id = ANY({users}) AND user_id NOT IN (SELECT user_id FROM locked)
