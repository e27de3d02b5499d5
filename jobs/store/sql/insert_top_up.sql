-- What was added to the account by hand; of free credits the type is 'grant'.
INSERT INTO {transactions}
  (user_id, type, amount, balance_before, balance_after,
   description, created_at)
VALUES
  ({user}, 'purchase', {amount}, {before}, {after},
   'Top-up by hand', clock_timestamp());
