-- Who has been written again, or is no longer to be.
DELETE FROM {set_aside} WHERE user_id <> ALL(%(kept)s::text[]) AND (%(users)s::text[] IS NULL OR user_id = ANY(%(users)s::text[]))
