"""The image, built from the Dockerfile as it stands and run against a real PostgreSQL.

It takes minutes and root, so only `pytest -m container -n 0` runs it (-n 0: each of pytest's workers would build
its own). JOBS_TEST_CACHE names a folder that keeps the base image's archive between runs; all else goes at the
end. (Its name does not start with USAGE_JOBS_: those are settings, and an unknown one is refused.)
"""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from .images import Container, Store, base_archive, demand

ROOT = Path(__file__).parents[3]
TOOLS = ("buildah", "debootstrap", "unshare")
COSTS = "SELECT user_id, total_cost::text FROM rollup.user_monthly ORDER BY 1"
LAST_RUN = "SELECT status, rows_read, rows_rejected, rows_changed FROM rollup.runs ORDER BY started_at DESC LIMIT 1"

pytestmark = pytest.mark.container


@pytest.fixture(scope="module")
def container(request: pytest.FixtureRequest) -> Iterator[Container]:
    """A container of the image, in a folder that is gone afterwards, also when the build fails."""
    if "container" not in request.config.getoption("-m"):
        pytest.skip("builds an image, which takes minutes: run it with -m container -n 0")
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian has them)")
    if os.geteuid() != 0:
        pytest.skip("debootstrap and buildah's chroot isolation need root")
    store = Store(Path(tempfile.mkdtemp(prefix="usage-jobs-image-")))
    try:
        base = store.add_base(base_archive(Path(os.environ.get("JOBS_TEST_CACHE", store.folder / "cache"))))
        store.build(ROOT, base, tag="usage-jobs")
        yield store.container("usage-jobs")
    finally:
        store.leave_nothing()


@pytest.fixture
def url(make_database: Callable[..., str]) -> str:
    """A database of shape A where one user consumed 12.5 CPU hours yesterday: 1.25 at the price that ships."""
    address = make_database(shape="a")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("INSERT INTO users (id) VALUES ('auth0|one')")
        connection.execute(
            "INSERT INTO usage_daily (id, user_id, date, cpu_hours)"
            " VALUES (gen_random_uuid(), 'auth0|one', (now() AT TIME ZONE 'UTC')::date - 1, 12.5)"
        )
    return address


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def test_the_image_runs_one_command_as_nobody_in_particular(container: Container) -> None:
    assert container.config["User"] == "10001:10001"
    assert container.config["Entrypoint"] == ["usage-jobs"]
    assert not container.config.get("Cmd"), "the base's own command would become an argument of ours"
    assert container.shell("id -u").strip() == "10001"


def test_the_image_carries_the_job_and_neither_sources_nor_an_installer(container: Container) -> None:
    assert container.shell("ls -A /src /opt/pip /etc/pip.conf /run/secrets /etc/usage-jobs 2>/dev/null || :") == (
        "/etc/usage-jobs:\n"
    )
    assert container.shell("python3 -c 'import importlib.util as u; print(u.find_spec(\"pip\"))'") == "None\n"
    writable = "find /opt /etc/usage-jobs -writable ! -type l"
    assert container.shell(writable) == "", "nothing of it can be changed by the one who runs it"


def test_the_image_carries_bytecode_that_file_times_do_not_void(container: Container) -> None:
    """A pyc says after its magic number how it is checked: 1 is by a hash, and never."""
    script = "import jobs.cli.main, pathlib; print(pathlib.Path(jobs.cli.main.__cached__).read_bytes()[4:8].hex())"
    assert container.shell(f"python3 -c '{script}'") == "01000000\n"


def test_without_arguments_it_fails(container: Container) -> None:
    done = container.usage_jobs()
    assert done.returncode == 2
    assert "usage-jobs --help" in done.stderr


def test_help(container: Container) -> None:
    assert "usage: usage-jobs" in demand(container.usage_jobs("--help"))


def test_a_night_in_a_container(container: Container, url: str) -> None:
    demand(container.usage_jobs("schema", "--apply", url=url))
    demand(container.usage_jobs("check", url=url))
    demand(container.usage_jobs("run", url=url))
    assert query(url, COSTS) == [("auth0|one", "1.2500000000")]
    assert query(url, LAST_RUN) == [("done", 1, 0, query(url, LAST_RUN)[0][3])]
    demand(container.usage_jobs("run", url=url))
    assert query(url, LAST_RUN) == [("done", 0, 0, 0)], "the same once more: nothing is read, nothing changes"


def test_settings_mounted_where_the_example_mounts_them(container: Container, url: str, tmp_path: Path) -> None:
    """config/examples/cronjob.yaml mounts a ConfigMap there: files that anyone in the container may read."""
    settings = (ROOT / "config" / "settings.toml").read_text(encoding="utf-8").replace("# rates", "rates", 1)
    start = container.start_and_rates["USAGE_JOBS_START"]
    (tmp_path / "settings.toml").write_text(settings.replace('# start = "2026-01"', f'start = "{start}"', 1), "utf-8")
    rates = (ROOT / "config" / "rates.csv").read_text(encoding="utf-8")
    (tmp_path / "rates.csv").write_text(rates.replace("0,0.10,1,list price", "0,0.20,1,agreed", 1), encoding="utf-8")
    tmp_path.chmod(0o755)
    demand(container.usage_jobs("schema", "--apply", url=url))
    arguments = ("run", "--config", "/etc/usage-jobs/settings.toml")
    demand(container.usage_jobs(*arguments, url=url, mount=tmp_path))
    assert query(url, COSTS) == [("auth0|one", "2.5000000000")]


def test_a_night_on_a_read_only_root(container: Container, url: str) -> None:
    demand(container.usage_jobs_sealed("schema", "--apply", url=url))
    demand(container.usage_jobs_sealed("run", url=url))
    assert query(url, COSTS) == [("auth0|one", "1.2500000000")]


def test_the_scheduler_is_the_first_process_and_stops_on_sigterm(container: Container, url: str) -> None:
    """The kernel drops a signal for which the first process of a container has no handler."""
    demand(container.usage_jobs_sealed("schema", "--apply", url=url))
    process = container.started_sealed("schedule", url=url)
    assert process.stderr is not None
    assert any(json.loads(line).get("event") == "done" for line in process.stderr)
    [first] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
    os.kill(int(first), signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode in (0, 143), "idle, or looking whether a closed month has changed"
    assert query(url, LAST_RUN)[0][0] == "done"
