type = 'usage' AND metadata ->> 'run_id' ~ '^[0-9]{{1,18}}$'
