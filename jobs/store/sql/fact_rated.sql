-- Whether an open month keeps the mode in which total_cost is written, whatever the settings say now.
SELECT EXISTS (SELECT FROM {months} WHERE cost_mode = 'rated' AND closed_at IS NULL)
