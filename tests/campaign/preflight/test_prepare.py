"""Preparing puts everything in place and keeps a record; running refuses what is not prepared, and says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import docker
import pytest

from actors.engines.common import weights
from actors.engines.trtllm.engine import TrtLlm
from actors.environments import EnvironmentError_
from actors.environments.registry import arm
from actors.gpu import capabilities
from actors.types import Environment, Image, ImageIdentity, Model, Mount, Prepared, Workload
from campaign.config.loading import load
from campaign.config.schema import Campaign
from campaign.preflight import prepare
from campaign.preflight.prepare import NotPrepared, Step
from campaign.record.store import Store
from campaign.run.driver import Driver

CONFIGS = Path(__file__).parents[3] / "configs" / "campaigns"
SHAPE = {
    "architectures": ["Qwen2ForCausalLM"],
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 64,
    "vocab_size": 32000,
}
MODEL = Model(
    name="tiny", engines=("trtllm",), huggingface_id="example/tiny", revision="abc", layers=2, weight_bytes=1000
)

CLIENT = """\
#!/bin/sh
# Stands for the network: the folder is the word after --local-dir, as in the real client.
echo "$@" > "{log}"
while [ "$1" != --local-dir ]; do shift; done
cp -r "{source}"/. "$2"
exit {code}
"""
PROGRAM = """\
#!/bin/sh
case "$*" in
  *--help*) echo "  --backend TEXT"; echo "  --engine_dir PATH"; echo "  --config FILE"; exit 0 ;;
  *build*) mkdir -p "$6/example/tiny/tp_1_pp_1" && cd "$6/example/tiny/tp_1_pp_1" &&
    echo '{}' > config.json && echo x > rank0.engine ;;
esac
"""
"""trtllm-bench as far as preparing asks it: help texts, and ``build`` below its workspace (its sixth word)."""


def checkpoint(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SHAPE | config))
    (folder / "model.safetensors").write_bytes(b"x" * 1000)
    return folder


def campaign(*arms: Environment, model: Model = MODEL) -> Campaign:
    return Campaign(
        name="example",
        engine="trtllm",
        models=(model,),
        environments=arms or (Environment(name="native-host", kind="native-host"),),
        workloads=(Workload(name="w", requests=3, input_tokens=4, output_tokens=5),),
        repetitions={"tiny": 1},
        reference=arms[0].name if arms else "native-host",
        order="alternate",
    )


def steps(asked: Campaign, home: Path, **options: Any) -> dict[str, Step]:
    return {step.what: step for step in prepare.prepare(asked, home, **options)}


def client(folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> Path:
    """Puts an ``hf`` first on the path; returns the file with its last arguments."""
    folder.mkdir()
    log = folder / "asked"
    (folder / "hf").write_text(CLIENT.format(log=log, source=source, code=code))
    (folder / "hf").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return log


def test_what_is_there_is_ready_with_its_digest_and_recorded(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "models" / "tiny")
    asked = campaign()
    found = steps(asked, tmp_path)
    assert {what: step.status for what, step in found.items()} == {"weights of tiny": "ready", "tiny for w": "ready"}
    assert found["weights of tiny"].digest == weights.digest(folder, tmp_path)
    record = json.loads(prepare.record_file(asked, tmp_path).read_text())
    assert record["config_hash"] == asked.config_hash
    assert [step["digest"] for step in record["steps"]] == [step.digest for step in found.values()]
    prepare.require(asked, tmp_path)


def test_weights_that_are_missing_come_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    gated = MODEL.model_copy(update={"gated": True, "licence": "Example Licence"})
    step = steps(campaign(model=gated), tmp_path, fetch=False)["weights of tiny"]
    assert step.status == "missing"
    assert f"hf download example/tiny --revision abc --local-dir {tmp_path}/models/tiny" in step.remedy
    assert "HF_TOKEN set: Example Licence" in step.remedy


def test_weights_are_fetched_where_the_client_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = client(tmp_path / "bin", checkpoint(tmp_path / "hub"), monkeypatch)
    found = steps(campaign(), tmp_path)
    assert found["tiny for w"].status == "ready"
    assert log.read_text().startswith("download example/tiny --revision abc --local-dir")


def test_a_download_that_was_cut_off_is_not_taken_for_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint(tmp_path / "models" / "tiny")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert prepare.missing(campaign(), tmp_path) == [f"weights of tiny in {folder}"]
    rest = tmp_path / "hub"
    rest.mkdir()
    (rest / "model-2.safetensors").write_bytes(b"x" * 10)
    client(tmp_path / "bin", rest, monkeypatch)
    assert steps(campaign(), tmp_path)["weights of tiny"].status == "ready"


def test_a_download_that_fails_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client(tmp_path / "bin", checkpoint(tmp_path / "hub"), monkeypatch, code=1)
    step = steps(campaign(), tmp_path)["weights of tiny"]
    assert (step.status, "did not end well" in step.found) == ("missing", True)
    assert "hf download example/tiny" in step.remedy


def test_another_models_weights_are_refused(tmp_path: Path) -> None:
    checkpoint(tmp_path / "models" / "tiny", num_hidden_layers=28)
    step = steps(campaign(), tmp_path)["weights of tiny"]
    assert step.status == "missing"
    assert "is another model" in step.found
    assert "28 layers, not 2" in step.found


def test_mistrals_second_copy_of_its_weights_does_not_count(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "models" / "tiny")
    (folder / "consolidated.safetensors").write_bytes(b"x" * 1000)
    assert weights.inspect(folder).weight_bytes == 1000


def test_a_run_refuses_what_is_not_prepared_and_names_the_verb(tmp_path: Path) -> None:
    with pytest.raises(NotPrepared) as caught:
        prepare.require(campaign(), tmp_path)
    assert str(tmp_path / "models" / "tiny") in str(caught.value)
    assert "campaign prepare" in str(caught.value)


def test_the_driver_asks_before_it_starts_anything(home: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results" / "spark")
    store.root.mkdir(parents=True)
    with pytest.raises(NotPrepared, match="weights of qwen2-1"):
        Driver(load(CONFIGS / "spark.yaml"), store).run()
    assert not store.exists(), "nothing was begun"


@pytest.mark.parametrize("file", ["local", "gpu-vllm"])
def test_a_campaign_with_random_weights_needs_no_preparing(file: str, home: Path) -> None:
    missing = prepare.missing(load(CONFIGS / f"{file}.yaml"), home)
    assert [line for line in missing if not line.startswith("image ")] == []


def test_an_image_of_a_registry_is_named_where_the_engine_has_it_not(
    docker_engine: docker.DockerClient, home: Path
) -> None:
    found = prepare.missing(load(CONFIGS / "page-cache.yaml"), home)
    assert "image nvcr.io/nvidia/tensorrt-llm/release:spark-single-gpu-dev" in found


# --- inside the image --------------------------------------------------------------------------------------------


def with_program(folder: Path, kind: str = "docker") -> Environment:
    folder.mkdir(exist_ok=True)
    (folder / "trtllm-bench").write_text(PROGRAM)
    (folder / "trtllm-bench").chmod(0o755)
    path = "/opt/bench:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    mounts = (Mount(source=str(folder), target="/opt/bench"),)
    return Environment.model_validate(
        {
            "name": kind,
            "kind": kind,
            "mounts": mounts,
            "variables": {"PATH": path},
            "network": "none" if kind == "docker" else None,
        }
    )


@pytest.mark.parametrize("kind", ["docker", "native-chroot"])
def test_help_texts_are_asked_once_for_each_image_and_decide_the_options(
    kind: str, local_image: ImageIdentity, home: Path, tmp_path: Path
) -> None:
    spec = with_program(tmp_path / "bin", kind)
    told = capabilities.ask("trtllm", arm(spec, home), local_image, home)
    assert told["help_throughput"].splitlines() == ["  --backend TEXT", "  --engine_dir PATH", "  --config FILE"]
    model = MODEL.model_copy(update={"kv_cache_tokens": 64})
    prepared = Prepared(files={"weights": "/w", "dataset": "/d", "llm_options": "/o"}, facts=dict(told))
    argv = TrtLlm().command(model, campaign().workloads[0], prepared).argv
    assert "--config" in argv, "what the help lists"
    assert "--extra_llm_api_options" not in argv
    (tmp_path / "bin" / "trtllm-bench").write_text("#!/bin/sh\nexit 9\n")
    assert capabilities.ask("trtllm", arm(spec, home), local_image, home) == told, "the answer is kept"


def test_a_help_that_cannot_be_asked_stops_the_preparation(
    local_image: ImageIdentity, home: Path, tmp_path: Path
) -> None:
    spec = with_program(tmp_path / "bin")
    (tmp_path / "bin" / "trtllm-bench").write_text("#!/bin/sh\necho no such moon >&2\nexit 9\n")
    with pytest.raises(EnvironmentError_, match=r"(?s)ends with 9.*no such moon"):
        capabilities.ask("trtllm", arm(spec, home), local_image, home)


def test_a_tensorrt_model_gets_its_engine_built_inside_the_image(
    local_image: ImageIdentity, home: Path, tmp_path: Path
) -> None:
    model = MODEL.model_copy(update={"backend": "tensorrt"})
    asked = campaign(with_program(tmp_path / "bin"), model=model).model_copy(update={"image": Image()})
    checkpoint(home / "models" / "tiny")
    assert prepare.missing(asked, home) == [f"engine of tiny in {home}/trtllm/engines/tiny"]
    found = steps(asked, home)
    assert {step.status for step in found.values()} == {"ready"}, found
    assert found["image"].digest == local_image.digest
    assert (home / "trtllm" / "engines" / "tiny" / "rank0.engine").is_file()
    assert [path.name for path in (home / "trtllm" / "engines").iterdir()] == ["tiny"], "nothing half-built is left"
    prepare.require(asked, home)
