-- Users who were drawn and whose account is gone: what was booked of them stays.
SELECT count(DISTINCT user_id) FROM {draws} WHERE NOT ({has_account})
