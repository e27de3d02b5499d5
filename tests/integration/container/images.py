"""Building and running images as root, with no engine and no registry: debootstrap makes the base of them."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from jobs.domain.billing_periods import first_of, previous_month

CA = "/run/secrets/ca.pem"  # where the Dockerfile's secret of that name appears
MINUTES = 60
PACKAGES = "python3,python3-venv,ca-certificates"
# Left behind by debootstrap, and a third of its weight.
CACHES = ("./var/cache/apt/archives/*.deb", "./var/cache/apt/*.bin", "./var/lib/apt/lists/*", "./dev/*")

Done = subprocess.CompletedProcess[str]


def call(*command: str | Path, env: Mapping[str, str] = os.environ, timeout: int = 10 * MINUTES) -> Done:
    """Runs a command to its end, whatever its exit code; its output is text."""
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout, check=False)


def demand(done: Done) -> str:
    """The standard output of a command that must have worked."""
    assert done.returncode == 0, f"{' '.join(map(str, done.args))}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def base_archive(folder: Path) -> Path:
    """A Debian with python3 and venv, and nothing else: base.tar in ``folder``, made (40 s) unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    archive, tree = folder / "base.tar", folder / "base"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # pytest's workers may share the folder
        if not archive.exists():
            demand(call("rm", "-rf", "--one-file-system", tree))  # of one that was cut short
            demand(call("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", tree))
            excluded = [f"--exclude={pattern}" for pattern in CACHES]
            demand(call("tar", "-C", tree, *excluded, "-cf", folder / "part", "."))
            demand(call("rm", "-rf", "--one-file-system", tree))
            (folder / "part").rename(archive)  # whole or not at all
    return archive


@dataclass(frozen=True)
class Store:
    """An image store that lives in one folder and goes with it."""

    folder: Path

    def buildah(self, *arguments: str | Path) -> Done:
        """vfs and chroot need nothing of the kernel that a plain sandbox, or CI, may lack."""
        storage = ("--root", self.folder / "images", "--runroot", self.folder / "run", "--storage-driver", "vfs")
        own = {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(self.folder), "XDG_RUNTIME_DIR": str(self.folder)}
        return call("buildah", *storage, *arguments, env={**os.environ, **own})

    def add_base(self, archive: Path) -> str:
        """An image of ``archive``, with the command and the locale that python's own images have."""
        recipe = self.folder / "base.Dockerfile"
        lines = ("FROM scratch", f"ADD {archive.name} /", "ENV LANG=C.UTF-8", 'CMD ["python3"]', "")
        recipe.write_text("\n".join(lines), encoding="utf-8")
        demand(self.buildah("build", "--file", recipe, "--tag", "base", archive.parent))
        return "localhost/base"

    def build(self, context: Path, base: str, tag: str) -> str:
        """The image of the Dockerfile in ``context``; pip there uses the index that pip uses here."""
        secrets = pip_secrets(self.folder)
        options = ("--build-arg", f"BASE={base}", "--tag", tag)
        return demand(self.buildah("build", *options, *secrets, context))

    def container(self, image: str) -> "Container":
        name = demand(self.buildah("from", image)).strip()
        config = json.loads(demand(self.buildah("inspect", "--type", "image", image)))["OCIv1"]["config"]
        return Container(self, name, config)

    def leave_nothing(self) -> None:
        """Removes the folder, unless something is still mounted in it: then that would be emptied too."""
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines()]
        held = [mount for mount in mounts if Path(mount).is_relative_to(self.folder)]
        assert not held, f"still mounted: {held}"
        demand(call("rm", "-rf", "--one-file-system", self.folder))


@dataclass(frozen=True)
class Container:
    """A container made of an image; ``config`` is what the image says of user, command and environment."""

    store: Store
    name: str
    config: dict[str, object]

    def usage_jobs(self, *arguments: str, url: str = "", mount: Path | None = None) -> Done:
        """What `docker run --env DATABASE_URL IMAGE …` does: buildah heeds the user, but not the entry point."""
        entry = self.config["Entrypoint"]
        assert isinstance(entry, list)
        volume = ["--volume", f"{mount}:{self.config['WorkingDir']}:ro"] if mount else []
        said = {} if mount else self.start_and_rates
        given = {"DATABASE_URL": url, **said}
        options = [*(f"--env={name}={value}" for name, value in given.items()), *volume]
        return self.store.buildah("run", *options, self.name, "--", *entry, *arguments)

    @cached_property
    def start_and_rates(self) -> dict[str, str]:
        """What a first run needs to be told: last month, and the rate card that ships."""
        rates = self.shell("ls /opt/venv/lib/python3*/site-packages/jobs/config/rates.csv").strip()
        last_month = previous_month(first_of(datetime.now(UTC).date() - timedelta(days=1)))
        return {"USAGE_JOBS_START": str(last_month), "USAGE_JOBS_RATES": rates}

    def shell(self, script: str) -> str:
        return demand(self.store.buildah("run", self.name, "--", "sh", "-c", script))

    def usage_jobs_sealed(self, *arguments: str, url: str) -> Done:
        """The same as Kubernetes does with the example: first process, root read-only, and only /tmp to write to."""
        words, variables = self._sealed(arguments, url)
        return call(*words, env=variables)

    def started_sealed(self, *arguments: str, url: str) -> "subprocess.Popen[str]":
        """As above, and not waited for: a child of what is returned is the first process of the container."""
        words, variables = self._sealed(arguments, url)
        return subprocess.Popen(words, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def _sealed(self, arguments: Sequence[str], url: str) -> tuple[list[str], dict[str, str]]:
        """Command and environment; the mounts are private to unshare's namespace, and gone with it."""
        script = """
            mount --bind "$ROOT" "$ROOT" && mount -o remount,bind,ro "$ROOT"
            mount --rbind /dev "$ROOT/dev" && mount -t proc proc "$ROOT/proc"
            mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
            cd "$ROOT" && exec chroot --userspec="$ACCOUNT" . "$@"
        """
        root = demand(self.store.buildah("mount", self.name)).strip()
        account, variables, folder = self.config["User"], self.config["Env"], self.config["WorkingDir"]
        assert isinstance(variables, list)
        said = (f"{name}={value}" for name, value in self.start_and_rates.items())
        inside = ("env", f"--chdir={folder}", *variables, *said, "usage-jobs", *arguments)
        own = {"PATH": os.environ["PATH"], "ROOT": root, "ACCOUNT": str(account), "DATABASE_URL": url}
        alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
        return [*alone, "sh", "-euc", script, "sh", *map(str, inside)], own


def pip_secrets(folder: Path) -> list[str]:
    """This machine's index and authority for pip, as build secrets: no file of ours and no layer names them."""
    settings = pip_settings()
    secrets = []
    if authority := settings.pop("cert", None):
        secrets += ["--secret", f"id=ca.pem,src={authority}"]
        settings["cert"] = CA
    if settings:
        file = folder / "pip.conf"
        file.write_text("\n".join(["[global]", *(f"{k} = {v}" for k, v in settings.items()), ""]), encoding="utf-8")
        secrets += ["--secret", f"id=pip.conf,src={file}"]
    return secrets


def pip_settings() -> dict[str, str]:
    """What pip here is told about where packages are; folders of this machine would not be found in the build."""
    listed = call(sys.executable, "-m", "pip", "config", "list").stdout.splitlines()  # none without pip: its defaults
    pairs = (line.split("=", 1) for line in listed if "=" in line)
    settings = {name.rsplit(".", 1)[1]: value.strip("'\"") for name, value in pairs}
    known = ("index-url", "extra-index-url", "trusted-host", "proxy", "cert")
    return {key: settings[key] for key in known if key in settings and "file:" not in settings[key]}
