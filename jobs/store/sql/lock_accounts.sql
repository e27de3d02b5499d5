-- Locks accounts until we commit, so that no other transaction changes them; says whether each could be locked. In one
-- order, so that no two writers wait for each other.
WITH locked AS (
  SELECT user_id FROM {accounts} WHERE user_id = ANY({users}) ORDER BY user_id {lock}
)
SELECT user_id, user_id IN (SELECT user_id FROM locked) FROM {accounts} WHERE user_id = ANY({users})
