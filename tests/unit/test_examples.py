"""The examples that operators copy: they parse, run, agree with the image and the contract, and hold no secret."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.postgres.performance_checks import estimate_memory
from jobs.settings import load

ROOT = Path(__file__).parents[2]
NOWHERE = Path("/nonexistent")
CRONTAB = ROOT / "config" / "examples" / "crontab"
CRONJOB = ROOT / "config" / "examples" / "cronjob.yaml"
DEPLOYMENT = ROOT / "config" / "examples" / "deployment.yaml"
# The contract's exit codes: 0 done, 1 unexpected, 2 usage or configuration, 3 rejects, 4 locked, 5 refused, 6 law.
EXIT_CODES = {0, 1, 2, 3, 4, 5, 6}
AT_0230 = "30 2 * * *"


def crontab() -> tuple[dict[str, str], list[str]]:
    """The variables and the entries of the crontab."""
    variables: dict[str, str] = {}
    entries: list[str] = []
    for line in CRONTAB.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if assignment := re.match(r"(\w+)\s*=\s*(.*)", line):
            variables[assignment[1]] = assignment[2]
        else:
            entries.append(line)
    return variables, entries


def cronjob() -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load(CRONJOB.read_text(encoding="utf-8"))
    return manifest


def job() -> dict[str, Any]:
    spec: dict[str, Any] = cronjob()["spec"]["jobTemplate"]["spec"]
    return spec


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = job()["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    (only,) = pod()["containers"]
    return dict(only)


def dockerfile(instruction: str) -> str:
    """The argument of the last such instruction of the Dockerfile."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(instruction).strip() for line in lines if line.startswith(f"{instruction} ")][-1]


def test_the_crontab_has_one_entry_at_0230_utc() -> None:
    variables, entries = crontab()
    (entry,) = entries
    *schedule, command = entry.split(maxsplit=5)
    assert " ".join(schedule) == AT_0230
    assert variables["CRON_TZ"] == "UTC"
    assert "%" not in command, "cron turns % into a line break"


@pytest.mark.parametrize(("code", "mail"), [(0, ""), (3, "usage-jobs run ended with 3: see {log}\n")])
def test_the_crontab_line_logs_its_output_and_mails_a_failure(tmp_path: Path, code: int, mail: str) -> None:
    (entry,) = crontab()[1]
    command = entry.split(maxsplit=5)[5].replace("/etc/usage-jobs", str(tmp_path))
    stub = tmp_path / "usage-jobs"
    stub.write_text(f'#!/bin/sh\necho "$PWD $*"; echo a warning >&2; exit {code}\n', encoding="utf-8")
    stub.chmod(0o755)
    log = tmp_path / "run.log"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(log)}
    done = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert log.read_text(encoding="utf-8") == f"{tmp_path} run\na warning\n"
    assert done.stdout + done.stderr == mail.format(log=log), "cron mails whatever is printed"


def test_the_crontab_explains_every_exit_code() -> None:
    assert [int(code) for code in re.findall(r"^#   (\d)  ", CRONTAB.read_text(encoding="utf-8"), re.M)] == sorted(
        EXIT_CODES
    )


def test_the_cronjob_starts_at_0230_utc_and_never_twice() -> None:
    manifest = cronjob()
    assert (manifest["apiVersion"], manifest["kind"]) == ("batch/v1", "CronJob")
    spec = manifest["spec"]
    assert spec["schedule"] == AT_0230
    assert spec["timeZone"] == "Etc/UTC"
    assert spec["concurrencyPolicy"] == "Forbid"
    # Late is better than never, but by midnight UTC the next night's run is as good.
    assert 12 * 3600 <= spec["startingDeadlineSeconds"] < (24 - 2.5) * 3600
    assert pod()["restartPolicy"] == "Never"
    assert job()["backoffLimit"] <= 3
    assert job()["activeDeadlineSeconds"] < 24 * 3600


def test_the_cronjob_retries_only_what_a_retry_may_heal() -> None:
    rules = job()["podFailurePolicy"]["rules"]
    (fails,) = [rule["onExitCodes"] for rule in rules if rule["action"] == "FailJob"]
    assert fails["containerName"] == container()["name"]
    assert fails["operator"] == "In"
    assert set(fails["values"]) == EXIT_CODES - {0, 1}
    text = CRONJOB.read_text(encoding="utf-8")
    assert {int(code) for code in re.findall(r"  (\d)  \w", text)} == set(fails["values"]), "each is explained"
    (ignored,) = [rule["onPodConditions"] for rule in rules if rule["action"] == "Ignore"]
    assert [condition["type"] for condition in ignored] == ["DisruptionTarget"]


def test_the_cronjob_gives_the_container_no_more_than_it_needs() -> None:
    everyone = pod()["securityContext"]
    assert everyone["runAsNonRoot"] is True
    assert f"{everyone['runAsUser']}:{everyone['runAsGroup']}" == dockerfile("USER")
    own = container()["securityContext"]
    assert own["readOnlyRootFilesystem"] is True
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert pod()["automountServiceAccountToken"] is False
    # A Service named usage-jobs would put USAGE_JOBS_PORT into the environment: an unknown setting, exit 2.
    assert pod()["enableServiceLinks"] is False


def test_the_cronjob_has_room_in_memory() -> None:
    number, unit = re.fullmatch(r"(\d+)([MG]i)", container()["resources"]["limits"]["memory"], re.A).groups()  # type: ignore[union-attr]
    most = estimate_memory(load(None, {}, NOWHERE))
    assert int(number) * {"Mi": 1, "Gi": 1024}[unit] >= most, "what a run takes at the most"


def test_the_cronjob_reads_settings_from_a_configmap_where_the_image_looks() -> None:
    folder = dockerfile("WORKDIR")
    (mount,) = [mount for mount in container()["volumeMounts"] if mount["mountPath"] == folder]
    assert mount["readOnly"] is True
    assert "configMap" in {volume["name"]: volume for volume in pod()["volumes"]}[mount["name"]]
    assert container()["args"] == ["run", "--config", f"{folder}/settings.toml"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert container()["image"] == f"usage-jobs:{version}"


def test_no_example_holds_a_secret() -> None:
    for variable in container()["env"]:
        assert set(variable) == {"name", "valueFrom"}, variable["name"]
        assert set(variable["valueFrom"]) == {"secretKeyRef"}, variable["name"]
    assert "DATABASE_URL" in {variable["name"] for variable in container()["env"]}
    for file in (CRONTAB, CRONJOB, DEPLOYMENT):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"://|password\s*[=:]\s*\S", text, re.I), file.name


def deployment() -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load(DEPLOYMENT.read_text(encoding="utf-8"))
    return manifest


def test_the_deployment_is_one_scheduler_with_what_the_cronjob_gives_it() -> None:
    manifest, spec = deployment(), deployment()["spec"]
    assert (manifest["apiVersion"], manifest["kind"]) == ("apps/v1", "Deployment")
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    inside = spec["template"]["spec"]
    (only,) = inside["containers"]
    assert only["args"] == ["schedule", "--config", f"{dockerfile('WORKDIR')}/settings.toml"]
    for name in ("image", "env", "resources", "securityContext", "volumeMounts"):
        assert only[name] == container()[name], name
    for name in ("securityContext", "volumes", "automountServiceAccountToken", "enableServiceLinks"):
        assert inside[name] == pod()[name], name
    assert inside["terminationGracePeriodSeconds"] > 10
    assert "livenessProbe" not in only


def test_the_deployment_asks_where_the_scheduler_answers() -> None:
    (only,) = deployment()["spec"]["template"]["spec"]["containers"]
    (port,) = only["ports"]
    told = tomllib.loads((ROOT / "config" / "settings.toml").read_text(encoding="utf-8"))["schedule"]["listen"]
    assert told.endswith(f":{port['containerPort']}")
    assert only["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    assert f'listen = "0.0.0.0:{port["containerPort"]}"' in DEPLOYMENT.read_text(encoding="utf-8")
