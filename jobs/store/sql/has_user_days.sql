SELECT EXISTS (SELECT FROM {user_daily} WHERE {days})
