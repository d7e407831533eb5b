"""The command of a run that was never carried out, without its hardware: what will be started,
held against the methodology."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from pyarrow import parquet

from actors.engines import EngineError
from actors.types import ImageIdentity, Prepared, UnitFacts
from campaign.config.loading import load
from campaign.plan.command import METHODOLOGY, against_methodology, planned_command, planned_in, text
from campaign.plan.design import plan, to_table

CAMPAIGNS = Path(__file__).parents[3] / "configs" / "campaigns"
SPARK = load(CAMPAIGNS / "spark.yaml")
WRITTEN = "docker run --rm --gpus all --ipc=host --ulimit memlock=-1 --ulimit stack=67108864 <image> <command>"
IMAGE = "nvcr.io/nvidia/tensorrt-llm/release:spark-single-gpu-dev"


def run_of(environment: str, model: str = "deepseek-r1-7b") -> str:
    return f"{model}__{environment}__throughput-1000__r01"


def test_docker_baseline_is_the_methodologys_line_option_by_option(tmp_path: Path) -> None:
    assert " ".join(METHODOLOGY) == WRITTEN
    rows = against_methodology(planned_command(SPARK, run_of("docker-baseline"), tmp_path)["shell"])
    written, besides = rows[: len(METHODOLOGY)], rows[len(METHODOLOGY) :]
    assert [row[0] for row in written] == list(METHODOLOGY)
    assert [row[1] for row in written[:-1]] == [
        "docker run",
        "--rm",
        "--gpus all",
        "--ipc=host",
        "--ulimit=memlock=-1:-1",
        "--ulimit=stack=67108864:67108864",
        IMAGE,
    ]
    assert not [row for row in rows if row[2] in ("MISSING", "ADDED")]
    # Nothing besides can change how it runs: paths, the engine's variables, marks.
    names = {row[1].partition("=")[0] for row in besides}
    assert names == {"--workdir", "--mount", "--env", "--label"}


def test_an_option_that_is_not_the_methodologys_is_called_added(tmp_path: Path) -> None:
    arm = SPARK.environment("docker-baseline").model_copy(update={"name": "tuned", "network": "host", "ipc": None})
    changed = SPARK.model_copy(update={"environments": (*SPARK.environments, arm)})
    rows = against_methodology(planned_command(changed, run_of("tuned"), tmp_path)["shell"])
    assert ("", "--network=host", "ADDED") in rows
    assert ("--ipc=host", "", "MISSING") in rows


def test_both_arms_run_the_same_program_with_the_same_mounts_and_variables(tmp_path: Path) -> None:
    native, container = (planned_command(SPARK, run_of(arm), tmp_path) for arm in ("native-chroot", "docker-baseline"))
    assert native["argv"] == container["argv"]
    assert native["workdir"] == container["workdir"]
    assert native["user"] == container["user"]
    assert [(m["target"], m["read_only"]) for m in native["mounts"]] == [
        (m["target"], m["read_only"]) for m in container["mounts"]
    ]
    own = {"CAMPAIGN_ATTEMPT", "HOSTNAME", "HOME"}  # Docker gives a container the last two when it starts
    assert {k: v for k, v in native["variables"].items() if k not in own} == {
        k: v for k, v in container["variables"].items() if k not in own
    }
    assert native["rlimits"] == {"memlock": [-1, -1], "stack": [67108864, 67108864]}


@pytest.mark.parametrize("model", [model.name for model in SPARK.models])
@pytest.mark.parametrize("arm", ["native-chroot", "docker-baseline"])
def test_every_run_of_the_spark_can_be_shown_before_it_runs(arm: str, model: str, tmp_path: Path) -> None:
    shown = text(planned_command(SPARK, run_of(arm, model), tmp_path))
    entry = SPARK.model(model)
    for part in (
        f"--model {entry.huggingface_id}",
        "--num_requests 1000",
        f"--concurrency {entry.batch_size}",
        f"--max_batch_size {entry.batch_size}",
        f"--backend {entry.backend or 'pytorch'}",
        "/campaign/input/dataset.jsonl  read-only",
        "/campaign/output  read-write",
        "HF_HUB_OFFLINE=1",
    ):
        assert part in shown
    assert ("--engine_dir /campaign/input/engine" in shown) == (entry.backend == "tensorrt")
    assert not list(tmp_path.iterdir()), "showing leaves nothing behind"


def test_the_shell_lines_are_words_that_a_shell_reads(tmp_path: Path) -> None:
    container = planned_command(SPARK, run_of("docker-baseline"), tmp_path)
    assert shlex.split(container["shell"])[-len(container["argv"]) :] == container["argv"]
    native = planned_command(SPARK, run_of("native-chroot"), tmp_path)
    assert native["shell"].endswith(f"{shlex.join(native['argv'])}'")


def test_the_images_entry_point_is_given_the_engines_command_in_both_arms(tmp_path: Path) -> None:
    image = ImageIdentity(reference=IMAGE, digest="sha256:1", rootfs="/root", entrypoint=("/opt/nvidia/entry.sh",))
    for arm in ("native-chroot", "docker-baseline"):
        command = planned_command(SPARK, run_of(arm), tmp_path, image=image)
        assert command["entrypoint"] == ["/opt/nvidia/entry.sh"]
        assert "handed over to it by the image's entry point\n  /opt/nvidia/entry.sh" in text(command)
        assert "--entrypoint" not in command["shell"], "Docker takes the image's own"
        in_chroot = shlex.join(["/opt/nvidia/entry.sh", *command["argv"]])
        assert (in_chroot in command["shell"]) == (arm == "native-chroot")


def test_the_units_gpu_is_in_the_planned_command(tmp_path: Path) -> None:
    shell = planned_command(SPARK, run_of("docker-baseline"), tmp_path, gpu_uuid="GPU-1")["shell"]
    assert shlex.split(shell)[3:5] == ["--gpus", '"device=GPU-1"']


@pytest.mark.parametrize("file", ["spark", "spark-amended", "spark-latency", "spark-vllm", "page-cache"])
def test_every_arm_of_the_sparks_campaigns_has_a_command(file: str, tmp_path: Path) -> None:
    asked = load(CAMPAIGNS / f"{file}.yaml")
    for run in plan(asked):
        if run.repetition == 1:
            assert planned_command(asked, run.run_id, tmp_path)["argv"]


def test_a_run_that_is_not_planned_names_one_that_is(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no such run in spark\. There are: qwen2"):
        planned_command(SPARK, "nobody__r01", tmp_path)


def test_a_campaign_that_has_begun_shows_the_runs_to_come(tmp_path: Path) -> None:
    asked = load(CAMPAIGNS / "local.yaml")
    facts = UnitFacts(
        unit="spark-1",
        hostname="spark-1",
        machine="aarch64",
        gpu="NVIDIA GB10",
        cpus=20,
        mem_total_gib=119.7,
        code_digest="c",
        images={"image": ImageIdentity(reference=IMAGE, digest="sha256:abc", variables={"LD_LIBRARY_PATH": "/cuda"})},
        prepared={"deepseek-r1-7b/throughput-1000": Prepared(files={"weights": "/w", "dataset": "/d.jsonl"})},
    )
    info = {
        "config": SPARK.model_dump(mode="json"),
        "campaign_id": "id",
        "lanes": ["spark-1"],
        "campaign": asked.name,
        "plan_hash": "",
    }
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "spark-1.json").write_text(facts.model_dump_json())
    (tmp_path / "campaign.json").write_text(json.dumps(info))
    parquet.write_table(to_table(plan(SPARK)), tmp_path / "plan.parquet")
    shown = planned_in(tmp_path, run_of("docker-baseline"))
    assert "LD_LIBRARY_PATH=/cuda" in shown
    assert "/campaign/input/weights  read-only  from /w" in shown
    assert "sha256:abc" in shown
    assert f"CAMPAIGN_ATTEMPT=id/{run_of('docker-baseline')}/1" in shown
