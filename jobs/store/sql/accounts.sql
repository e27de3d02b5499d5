-- Accounts of some users, in units of 10^-10: what could be spent rounded down, what is spent rounded up.
SELECT user_id, floor({granted} * {one}) AS granted, floor({bought} * {one}) AS bought,
  ceil({free_used} * {one}) AS free_used, ceil({used} * {one}) AS used
FROM {accounts} WHERE user_id = ANY(%(users)s)
