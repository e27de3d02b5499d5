-- Usage of many rows as one: of each column the values one after the other, in the order in which the rows lie. What a
-- row costs to send and to receive by itself is several times what its values cost.
SELECT {number}::bigint, count(*), {packed}, string_agg(coalesce(user_id, ''), {separator}) FROM {usage} WHERE {filter}
