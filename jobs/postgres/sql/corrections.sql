-- name: of_month
-- Corrections of a month, with the billing mode of the user's month; {users}: a condition on user_id.
SELECT c.user_id, c.run_id, c.cause, c.reason, m.billing_mode,
  c.old_total, c.new_total, c.old_uncovered, c.new_uncovered,
  c.old_amount_due, c.new_amount_due, c.old_amount_reported, c.new_amount_reported
FROM {job.corrections} AS c LEFT JOIN {job.user_monthly} AS m ON m.month = c.month AND m.user_id = c.user_id
WHERE c.month = {month} AND {users}
ORDER BY c.user_id, c.run_id

-- name: append
-- Adds the corrections of a run: one row for each user-month.
INSERT INTO {job.corrections} ({columns}, reason, run_id)
SELECT {columns}, %(reason)s, %(run_id)s FROM {stage} ORDER BY month, user_id
