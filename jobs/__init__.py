"""usage_daily in, exact cost roll-ups out.

How data flows, and which room each step has::

    cli                  arguments, exit codes, the clock
        └─ run           the story of one run; its chapters, which alone collect frames:
            │            plan → reading → brake → chunks (chunk, figures, drawing, steady, replacing) → ending
            │            of a backfill also agreed: what its chunks tell, hashed, and held to
            ├─ store     reads usage_daily (rounded at 10 places by the query, many rows at a time), spills it by
            │            user, reads what stands, writes differences only; a team of connections side by side
            └─ compute   prices rows, rolls them up per user and per cluster: LazyFrame in, LazyFrame out
                 └─ model    words: meters, cards, windows, frame columns, errors

Imports point down this picture and never up; ``tests/test_architecture.py`` holds that.

Inside ``compute`` every quantity and every amount is an integer that counts units of 10^-10 (see
``jobs.model.scale``), of 64 bits where its bounds allow that (``jobs.compute.exact``): exact, and as fast as floats. At
the edges they are ``Decimal`` and ``numeric(38,10)``.
"""
