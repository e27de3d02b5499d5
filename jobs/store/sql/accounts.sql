-- Accounts of some users, in units of 10^-10: what could be spent rounded down, what is spent rounded up.
SELECT user_id, floor({granted}) AS granted, floor({bought}) AS bought, ceil({free_used}) AS free_used, ceil({used}) AS used
FROM {accounts} WHERE user_id = ANY({users}) AND {usable}
