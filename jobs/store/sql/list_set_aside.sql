-- Who is set aside, and why.
SELECT user_id, reason FROM {set_aside} ORDER BY user_id
