-- Until we commit nobody changes the rows of these users on these days.
SELECT FROM {usage} WHERE user_id = ANY(%(users)s) AND date BETWEEN %(first)s AND %(last)s
ORDER BY id FOR NO KEY UPDATE
