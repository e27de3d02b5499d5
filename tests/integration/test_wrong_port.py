"""5432 for 6543, and the other way round: a pooler in transaction mode is known by itself, whatever its port."""

from pathlib import Path
from urllib.parse import urlsplit

import pooler
import pytest
import strangers
from authority import Authority
from commands import add_usage, applied
from passwords import SUPABASE, WAYS
from strangers import Stranger, door
from told import under

pytestmark = [
    pytest.mark.skipif(pooler.PROGRAM is None, reason=pooler.MISSING),
    pytest.mark.skipif(not strangers.addressable(), reason="this system has one loopback address"),
    # An md5 password is proved with the user's name, which whoever listens there changes on the way.
    pytest.mark.direct("has poolers of its own, and listens in the way as another user", once=True),
]


def works(environment: dict[str, str]) -> dict[str, str]:
    """What `check` found, by subject, where a run works too."""
    ran = under(environment, "run")
    assert ran.code == 0, ran.err
    found = under(environment, "check", "--json").object["findings"]
    return {finding["subject"]: finding["found"] for finding in found}


@pytest.mark.parametrize("way", ["direct", "pooler"])
@pytest.mark.parametrize("pooled", [True, False])
def test_whoever_listens_there(database: str, tmp_path: Path, way: str, pooled: bool) -> None:
    """By Supabase's names: its dedicated pooler shares the host of the direct connection."""
    password = urlsplit(database).password
    if not password:
        pytest.skip("this server asks for no password")
    add_usage(applied(database))
    _, host, port = WAYS[way]
    given = {
        **SUPABASE,
        "SUPABASE_DB_PASSWORD": password,
        "SUPABASE_CONNECTION": way,
        "PGHOSTADDR": strangers.address(),
        "USAGE_JOBS_READER": "copy" if way == "direct" and not pooled else "auto",  # connectorx would ask a resolver
    }
    with pooler.running(database) as pool:
        behind = door(pool.url(database) if pooled else database)
        with Stranger(behind, port, Authority(tmp_path).context(host)):
            found = works(given)
    assert found["connection"].startswith("transaction pooler" if pooled or way == "pooler" else "direct")
    assert found["reader"] == "copy"
