"""A database of shape A with as many users as a test wants, filled by the server.

Users are ``user-000001`` and so on. Those with an even number are prepaid and have an account; every fourth account
is soon empty. The row of a user and day has an id that follows from both, whoever has the row later.
"""

from datetime import date
from hashlib import md5
from uuid import UUID

import psycopg

USERS = """
INSERT INTO users (id, billing_mode)
SELECT 'user-' || lpad(n::text, 6, '0'), CASE WHEN n %% 2 = 0 THEN 'prepaid' ELSE 'postpaid' END
FROM generate_series(1, %(users)s) AS n
"""
ACCOUNTS = """
INSERT INTO user_credits (user_id, free_credits_granted, total_purchased)
SELECT 'user-' || lpad(n::text, 6, '0'), n %% 5, CASE WHEN n %% 4 = 0 THEN 1 ELSE 500 END
FROM generate_series(2, %(users)s, 2) AS n
"""
CLUSTERS = """
INSERT INTO hopsworks_clusters (id, name)
SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'cluster ' || n FROM generate_series(0, 2) AS n
"""
USAGE = """
INSERT INTO usage_daily (id, user_id, date, hopsworks_cluster_id, cpu_hours, gpu_hours, storage_gb,
                         feature_store_api_calls, model_inference_calls)
SELECT md5('user-' || lpad(n::text, 6, '0') || ' ' || day::date)::uuid, 'user-' || lpad(n::text, 6, '0'), day::date,
       ('00000000-0000-0000-0000-00000000000' || n %% 3)::uuid,
       (n %% 97 + 100) * 0.13, n %% 7 * 0.5, n %% 50, n %% 1000, n %% 300
FROM generate_series(%(first)s::date, %(last)s::date, '1 day') AS day, generate_series(1, %(users)s) AS n
"""


def user_id(number: int) -> str:
    return f"user-{number:06}"


def row_id(number: int, day: date) -> UUID:
    """The id of the row that this user was given for this day."""
    return UUID(md5(f"{user_id(number)} {day}".encode(), usedforsecurity=False).hexdigest())


def fill_users(url: str, users: int) -> None:
    with psycopg.connect(url) as connection:
        for text in (USERS, ACCOUNTS):
            connection.execute(text.encode(), {"users": users})
        connection.execute(CLUSTERS.encode())


def fill_days(url: str, users: int, first: date, last: date) -> None:
    """A row a day, from ``first`` to ``last``, of each user."""
    with psycopg.connect(url) as connection:
        connection.execute(USAGE.encode(), {"users": users, "first": first, "last": last})
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE")
