-- Users whose balance is more than their transactions say: by how much, and the balance that they have now.
SELECT key, trim_scale(right_ - left_), trim_scale(right_) FROM ({law}) AS law
WHERE right_ > left_ AND right_ < 'Infinity' ORDER BY key LIMIT 10
