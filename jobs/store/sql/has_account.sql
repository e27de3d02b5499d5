EXISTS (SELECT FROM {accounts} AS a WHERE a.user_id = {table}.user_id)
