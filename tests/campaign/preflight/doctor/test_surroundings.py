"""What surrounds a campaign: the kind of Docker engine, the image's CUDA, models behind a licence, other tenants,
other campaigns."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.config.loading import load as load_campaign
from campaign.preflight import doctor
from campaign.preflight.doctor import containers, requirement, tenants
from campaign.preflight.doctor.requirement import Host, judge, met, version

PROJECT = Path(__file__).parents[4]
GB10 = PROJECT / "tests/machines/gb10"
SPARK = load_campaign(PROJECT / "configs/campaigns/spark.yaml")


def one(name: str, home: Path, asked: Any = SPARK, **more: Any) -> doctor.Check:
    (found,) = doctor.checks(home, asked, only=(name,), **more)
    return found


# --- Docker -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"DockerRootDir": "/var/snap/docker/common/var-lib-docker"}, "snap"),
        ({"OperatingSystem": "Docker Desktop"}, "Docker Desktop"),
        ({"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"]}, "rootless"),
        ({"SecurityOptions": ["name=userns"]}, "userns-remap"),
        ({"BuildahVersion": "1.33"}, "Podman"),
    ],
)
def test_an_engine_that_is_not_the_plain_one_is_told(info: dict[str, Any], words: str) -> None:
    found = containers.kind_of_engine(info)
    assert found is not None
    assert words in found[0]
    assert found[1]


def test_the_plain_engine_of_a_spark_is_fine() -> None:
    info = {
        "DockerRootDir": "/var/lib/docker",
        "OperatingSystem": "Ubuntu 24.04.3 LTS",
        "SecurityOptions": ["name=apparmor", "name=cgroupns"],
    }
    assert containers.kind_of_engine(info) is None


# --- the image's CUDA ---------------------------------------------------------------------------------------------

REQUIRES = (
    "cuda>=12.9 brand=unknown,driver>=535,driver<536 brand=grid,driver>=535,driver<536 "
    "brand=tesla,driver>=535,driver<536 brand=geforce,driver>=570,driver<571"
)
"""As NVIDIA's CUDA images write it."""


@pytest.mark.parametrize(
    ("variables", "cuda", "driver", "status"),
    [
        ({"CUDA_VERSION": "13.0.1.012", "NVIDIA_REQUIRE_CUDA": "cuda>=9.0"}, "13.0", "580.95.05", "ok"),
        ({"CUDA_VERSION": "13.1.0", "NVIDIA_REQUIRE_CUDA": "cuda>=9.0"}, "13.0", "580.95.05", "warn"),
        ({"CUDA_VERSION": "13.1.0", "NVIDIA_REQUIRE_CUDA": "cuda>=13.1"}, "13.0", "580.95.05", "fail"),
        ({"CUDA_VERSION": "13.1.0", "NVIDIA_REQUIRE_CUDA": "cuda>=13.1", "NVIDIA_DISABLE_REQUIRE": "1"}, "13.0", "580",
         "warn"),
        ({"CUDA_VERSION": "13.0"}, "12.8", "570.1", "fail"),
        ({"CUDA_VERSION": "12.9.1", "NVIDIA_REQUIRE_CUDA": REQUIRES}, "13.0", "580.95.05", "ok"),
        ({"CUDA_VERSION": "12.9.1", "NVIDIA_REQUIRE_CUDA": REQUIRES}, "12.8", "571.10", "fail"),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=13.2"}, "13.0", "580", "fail"),
        ({}, "13.0", "580", "ok"),
        ({"CUDA_VERSION": "13.0"}, None, None, "ok"),
    ],
)  # fmt: skip
def test_an_image_newer_than_the_driver_is_refused_or_said_to_make_the_arms_differ(
    variables: dict[str, str], cuda: str | None, driver: str | None, status: str
) -> None:
    found, words, remedy = judge(variables, {}, Host(cuda, driver))
    assert found == status, words
    assert bool(remedy) == (status != "ok")
    if status != "ok":
        assert cuda is not None
        assert cuda in words
        assert "driver" in remedy


def test_a_condition_on_what_is_not_known_decides_nothing() -> None:
    assert met("brand=tesla", Host("13.0")) is None
    assert met("brand=tesla cuda>=12", Host("13.0")) is True
    assert met("brand=tesla,cuda>=14", Host("13.0")) is False
    assert met("arch>=12.1", Host("13.0", arch="12.1")) is True


@given(st.lists(st.integers(0, 999), min_size=1, max_size=4), st.lists(st.integers(0, 999), min_size=1, max_size=4))
def test_versions_are_compared_by_number_and_zeros_at_the_end_say_nothing(a: list[int], b: list[int]) -> None:
    left, right = ".".join(map(str, a)), ".".join(map(str, b))
    longest = max(len(a), len(b))
    padded = [one + [0] * (longest - len(one)) for one in (a, b)]
    assert (version(left) >= version(right)) == (padded[0] >= padded[1])
    assert version(left) == version(left + ".0")


@given(st.text(max_size=60))
def test_no_expression_breaks_the_reading(text: str) -> None:
    assert met(text, Host("13.0", "580.1")) in (True, False, None)


def test_nvml_writes_thirteen_thousand_for_thirteen() -> None:
    assert [requirement.cuda_version(number) for number in (13000, 12080, None, 0)] == ["13.0", "12.8", None, None]


# --- models behind a licence --------------------------------------------------------------------------------------


@pytest.fixture
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "SUDO_USER", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "hf/token"


GATED = [model.name for model in SPARK.models if model.gated]


def test_gated_models_without_a_token_fail_before_anything_is_fetched(home: Path, no_token: Path) -> None:
    found = one("models' access", home)
    assert GATED
    assert found.status == "fail"
    assert all(name in found.found for name in GATED)
    assert "HF_TOKEN" in found.remedy
    assert "sudo drops" in found.remedy
    assert "https://huggingface.co/" in found.remedy


def test_a_token_in_the_variable_or_in_the_file_is_found_and_never_shown(
    home: Path, no_token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "hf_" + "x" * 34
    monkeypatch.setenv("HF_TOKEN", token)
    by_variable = one("models' access", home)
    monkeypatch.delenv("HF_TOKEN")
    no_token.parent.mkdir()
    no_token.write_text(f"{token}\n")
    by_file = one("models' access", home)
    assert (by_variable.status, by_file.status) == ("ok", "ok")
    assert "HF_TOKEN" in by_variable.found
    assert str(no_token) in by_file.found
    assert token not in str((by_variable, by_file))


@pytest.mark.parametrize("token", ["hf_", '"hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"', "your_token_here"])
def test_a_placeholder_is_no_token(home: Path, no_token: Path, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    assert one("models' access", home).status == "warn"


def test_weights_that_are_here_need_no_token(home: Path, no_token: Path) -> None:
    model = next(model for model in SPARK.models if model.gated)
    folder = home / "models" / model.name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    only = SPARK.model_copy(update={"models": (model,)})
    assert one("models' access", home, only).status == "ok"


# --- other tenants ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comm", "line", "tenant"),
    [
        ("ollama", "/usr/local/bin/ollama serve", "Ollama"),
        ("python3", "/opt/ComfyUI/venv/bin/python3 /opt/ComfyUI/main.py --listen", "ComfyUI"),
        ("python3", "python3 -u /srv/ComfyUI/main.py", "ComfyUI"),
        ("text-generation", "text-generation-launcher --model-id x", "text-generation-inference"),
        ("VLLM::EngineCor", "VLLM::EngineCore", "vLLM"),
        ("vllm", "/usr/bin/python3 /usr/local/bin/vllm serve x", "vLLM"),
        ("python3", "python3 -m sglang.launch_server --model x", "SGLang"),
        ("llama-server", "/usr/bin/llama-server -m x.gguf", "llama.cpp"),
        ("tritonserver", "/opt/tritonserver/bin/tritonserver --model-repository=/m", "Triton"),
    ],
)
def test_programs_that_load_models_are_named(tmp_path: Path, home: Path, comm: str, line: str, tenant: str) -> None:
    shutil.copytree(GB10, tmp_path / "m")
    (tmp_path / "m/proc/700").mkdir()
    (tmp_path / "m/proc/700/comm").write_text(f"{comm}\n")
    (tmp_path / "m/proc/700/cmdline").write_text(line.replace(" ", "\0"))
    found = one("other tenants", home, root=tmp_path / "m")
    assert found.status == "warn"
    assert found.found.startswith(f"{tenant} (700)")
    assert found.remedy


def test_a_script_is_known_by_the_folder_it_works_in(tmp_path: Path, home: Path) -> None:
    shutil.copytree(GB10, tmp_path / "m")
    (tmp_path / "m/proc/700").mkdir()
    (tmp_path / "m/proc/700/comm").write_text("python\n")
    (tmp_path / "m/proc/700/cmdline").write_text("python\0main.py\0")
    (tmp_path / "m/proc/700/cwd").symlink_to("/home/someone/ComfyUI")
    assert one("other tenants", home, root=tmp_path / "m").found.startswith("ComfyUI (700)")


def test_somebody_who_only_reads_about_them_is_no_tenant(tmp_path: Path, home: Path) -> None:
    shutil.copytree(GB10, tmp_path / "m")
    for pid, line in (
        (700, "vim -R -u NONE notes/ollama.txt"),
        (701, "less -S -N -R ComfyUI.log"),
        (702, "sshd: llama [priv]"),
    ):
        (tmp_path / f"m/proc/{pid}").mkdir()
        (tmp_path / f"m/proc/{pid}/comm").write_text(line.partition(" ")[0] + "\n")
        (tmp_path / f"m/proc/{pid}/cmdline").write_text(line.replace(" ", "\0"))
    assert one("other tenants", home, root=tmp_path / "m").status == "ok"


@pytest.mark.parametrize(
    ("config", "has"),
    [
        ({"DeviceRequests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]}, True),
        ({"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}]}, True),
        ({"Runtime": "nvidia"}, True),
        ({"Devices": [{"PathOnHost": "/dev/nvidia0"}]}, True),
        ({"Runtime": "runc", "DeviceRequests": None, "Devices": []}, False),
    ],
)
def test_a_container_with_a_gpu_is_known_by_any_way_of_giving_it(config: dict[str, Any], has: bool) -> None:
    assert tenants.has_gpu(config) == has


def test_a_campaign_that_runs_is_known_by_its_lock(home: Path, tmp_path: Path) -> None:
    (tmp_path / "results/first").mkdir(parents=True)
    handle = os.open(tmp_path / "results/first/.driver.lock", os.O_RDWR | os.O_CREAT)
    (quiet,) = doctor.checks(home, None, tmp_path / "results", only=("other campaigns",))
    assert quiet.status == "ok"
    fcntl.flock(handle, fcntl.LOCK_EX)
    (found,) = doctor.checks(home, None, tmp_path / "results", only=("other campaigns",))
    os.close(handle)
    assert found.status == "warn"
    assert found.found.startswith("first runs now")


# --- disk ---------------------------------------------------------------------------------------------------------


def test_every_part_that_needs_room_is_counted_where_it_will_lie(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    found = one("disk", home, results=tmp_path / "results")
    for part in ("results", "image 37.3 GiB", "export 37.3 GiB", "weights", "compile caches 36.0 GiB"):
        assert part in found.found, found
    assert found.status == "fail", "no machine of this suite has room for the study"
    assert "CAMPAIGN_HOME" in found.remedy


def test_weights_that_are_here_need_no_room(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    model = SPARK.models[0]
    only = SPARK.model_copy(update={"models": (model,)})
    assert "weights 2.9 GiB" in one("disk", home, only).found
    file = home / "models" / model.name / "model.safetensors"
    file.parent.mkdir(parents=True)
    with file.open("wb") as sparse:
        sparse.truncate(model.weight_bytes or 0)
    assert "weights" not in one("disk", home, only).found
