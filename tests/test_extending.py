"""A package outside the tree adds an engine and a kind of environment; what it breaks is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import docker
import pytest
from small_campaign import PROJECT

from actors import extensions
from actors.types import ImageIdentity

CONFIG = """\
name: extended
engine: checksum
models:
  - name: nothing
    engines: [checksum]
    random_weights: {layers: 1, hidden_size: 32, feed_forward_size: 32, heads: 1, kv_heads: 1}
environments:
  - {name: first, kind: docker, network: none}
  - {name: second, kind: docker-second, network: none}
workloads: [{name: few, requests: 3, input_tokens: 1, output_tokens: 4, warmup_requests: 0}]
repetitions: 2
"""
ATTEMPT = """
import json, sys, time
from pathlib import Path
from actors.engines.registry import engine
from actors.environments.registry import arm, container_engine
from actors.environments.docker import image
from actors.gpu.attempt import launch_of
from actors.types import Attempt, Gate, Image
from campaign.config.loading import load
loaded, home = load(Path(sys.argv[1])), Path(sys.argv[2])
spec, model, workload = loaded.environment("second"), loaded.models[0], loaded.workloads[0]
program, holder = engine(loaded.engine), loaded.container_engine("second")
identity = image.ensure(holder.connect(home), Image(), home, engine=holder.name)
output = home / "output"
output.mkdir()
output.chmod(0o777)
prepared = program.prepare(model, workload, home)
order = Attempt(campaign="c", campaign_id="c", run_id="r", attempt=1, unit="u", engine=loaded.engine, model=model,
                workload=workload, environment=spec, gate=Gate(), prepared=prepared, image=identity)
labels = {"campaign": "c", "run": "r", "attempt": "1"}
process = arm(spec, home).create(launch_of(order, program, output), labels, home, identity)
process.start()
ended = process.wait(60)
process.close()
report = program.parse(output, model, workload, prepared)
print(json.dumps({"code": ended.code, "holder": identity.engine, "report": report.model_dump(mode="json")}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example, as `pip install --target` leaves it."""
    out, target = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=PROJECT / "examples" / "extension", check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    install = [
        getattr(sys, "_base_executable", sys.executable),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
    ]
    subprocess.run([*install, str(target), str(wheel)], check=True, capture_output=True)
    return target


def python(code: str, *words: object, site: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    found = {**os.environ, "PYTHONPATH": f"{PROJECT}:{site}", **variables}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], env=found, capture_output=True, text=True, check=False
    )


def test_its_engine_runs_in_its_kind_of_environment(
    installed: Path, docker_engine: docker.DockerClient, local_image: ImageIdentity, tmp_path: Path
) -> None:
    config = tmp_path / "extended.yaml"
    config.write_text(CONFIG)
    done = python(ATTEMPT, config, tmp_path, site=installed, SECOND_DOCKER_HOST=os.environ["DOCKER_HOST"])
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    metrics = {metric["name"]: metric["value"] for metric in told["report"]["metrics"]}
    assert (told["code"], told["holder"], told["report"]["failure"]) == (0, "docker-second", None)
    assert (told["report"]["requests_answered"], told["report"]["tokens_generated"]) == (3, 12)
    assert metrics["token_throughput_tok_s"] > 0


def test_without_the_package_its_names_are_unknown_and_said_together(tmp_path: Path) -> None:
    from campaign.config.loading import load
    from campaign.config.yaml_nodes import ConfigError

    config = tmp_path / "extended.yaml"
    config.write_text(CONFIG)
    with pytest.raises(ConfigError) as caught:
        load(config)
    said = str(caught.value)
    assert "engine: must be llamacpp, trtllm, vllm or openai, got the text 'checksum'" in said
    assert (
        "environments[1].kind: must be native-host, native-chroot, docker or podman, got the text 'docker-second'"
        in said
    )


def test_its_version_is_a_condition_of_the_unit(installed: Path) -> None:
    done = python("from actors import extensions; print(extensions.installed())", site=installed)
    assert done.stdout.strip() == "{'campaign-example': '1.0'}", done.stderr
    assert extensions.installed() == {}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("docker = json:loads", "broken offers 'docker' in campaign.environments, a name that is taken"),
        ("mine = no.such.module:KIND",
         "broken: no.such.module:KIND, its 'mine' in campaign.environments, cannot be loaded: ModuleNotFoundError"),
        ("mine = actors.environments.podman:PODMAN",
         "calls itself 'podman', its entry point in campaign.environments 'mine'"),
    ],
)  # fmt: skip
def test_a_package_that_cannot_be_used_is_named(line: str, said: str, tmp_path: Path) -> None:
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[campaign.environments]\n{line}\n")
    done = python("from actors.environments.registry import kinds; kinds()", site=tmp_path)
    assert done.returncode == 1 and said in done.stderr
