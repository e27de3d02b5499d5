-- Until we commit nobody changes these accounts; in one order, so that no two writers wait for each other.
SELECT FROM {accounts} WHERE user_id = ANY(%(users)s) ORDER BY user_id FOR NO KEY UPDATE
