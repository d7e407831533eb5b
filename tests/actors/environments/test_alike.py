"""Arms that are to be compared are asked whether an engine sees the same in both."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from given_arms import libcuda
from test_gpu_files import HOOK, text

from actors.environments import EnvironmentError_, alike, gpu_files
from actors.environments.registry import arm
from actors.types import Environment, GpuAccess, Launch, Mount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a chroot needs root")
DOCKER, CHROOT = Environment(name="d", kind="docker", network="none"), Environment(name="n", kind="native-chroot")


def in_one_image(pair, image):
    """What :func:`alike.arms_alike` says of arms that run the same image."""
    return alike.arms_alike(pair, {one.spec.name: image for one in pair})


def arms(home: Path, *specs: Environment) -> list[Any]:
    return [arm(spec, home) for spec in specs]


def test_arms_of_one_image_are_alike(session_home, local_image, entered):
    for image in (local_image, entered):
        assert in_one_image(arms(session_home, DOCKER, CHROOT), image) == []
    seen = alike.variables(arm(DOCKER, session_home), entered, Launch(argv=(), variables={"OF_ENGINE": "1\n2"}))
    assert (
        seen["LD_LIBRARY_PATH"] == "/opt/only-here/lib" and seen["FROM_ENTRY"] == "a b" and seen["OF_ENGINE"] == "1\n2"
    )


def test_what_an_entry_point_does_in_one_arm_only_is_found(session_home, local_image, built):
    """It looks whether it is the first process, as in a container."""
    entrypoint = ["sh", "-c", 'if [ $$ = 1 ]; then export LD_LIBRARY_PATH="/in a container"; fi; exec "$@"', "sh"]
    image = built(f"ENTRYPOINT {json.dumps(entrypoint)}")
    assert image.entrypoint == tuple(entrypoint)
    image = image.model_copy(update={"rootfs": local_image.rootfs})
    (line,) = in_one_image(arms(session_home, DOCKER, CHROOT), image)
    assert "LD_LIBRARY_PATH is '/in a container' in d and not set in n" in line
    meant = CHROOT.model_copy(update={"variables": {"LD_LIBRARY_PATH": "/a treatment"}})
    assert in_one_image(arms(session_home, DOCKER, meant), image) == [], "what an arm itself sets is meant"
    rows = alike.difference(*arms(session_home, DOCKER, CHROOT), image)  # type: ignore[call-arg]
    assert rows == [("variable LD_LIBRARY_PATH", "'/in a container'", "not set")]


def test_one_arm_or_the_hosts_own_userland_has_nothing_to_be_like(session_home, local_image):
    host = Environment(name="h", kind="native-host")
    assert in_one_image(arms(session_home, DOCKER, host), local_image) == []


def test_an_image_that_cannot_answer_says_so(session_home, built):
    empty = built('RUN ["rm", "/usr/bin/dd", "/usr/local/bin/python3", "/usr/local/bin/python"]')
    with pytest.raises(EnvironmentError_, match="d: no program of the image answers"):
        alike.variables(arm(DOCKER, session_home), empty)


# --- the driver's library ---------------------------------------------------------------------------------------------


@pytest.fixture
def gpu_arms(tmp_path, monkeypatch, session_home):
    """A chroot by the toolkit's description, and a container whose driver is mounted by hand as the toolkit would."""

    def make(in_container: bytes, hook: str = ""):
        (tmp_path / "libcuda.so.580.95.05").write_bytes(libcuda(b"580"))
        (tmp_path / "libcuda.so.1").unlink(missing_ok=True)
        (tmp_path / "libcuda.so.1").symlink_to("libcuda.so.580.95.05")
        (tmp_path / "nvidia-smi").write_text("")
        (tmp_path / "nvidia.yaml").write_text(text(tmp_path, compat=hook))
        (tmp_path / "theirs").write_bytes(libcuda(in_container))
        monkeypatch.setattr(gpu_files, "WRITTEN", (tmp_path / "nvidia.yaml",))
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        by_hand = GpuAccess(
            by="devices", mounts=(Mount(source=str(tmp_path / "theirs"), target="/usr/local/lib/libcuda.so.1"),),
            variables={"LD_LIBRARY_PATH": "/usr/local/lib"},
        )  # fmt: skip
        return arms(
            session_home,
            DOCKER.model_copy(update={"gpu": by_hand}),
            CHROOT.model_copy(update={"gpu": GpuAccess(by="toolkit")}),
        )

    return make


def test_arms_that_load_the_same_driver_are_alike(gpu_arms, cuda_image):
    pair = gpu_arms(b"580")
    assert in_one_image(pair, cuda_image) == []
    assert alike.loaded_libcuda(pair[0], cuda_image).path == "/usr/local/lib/libcuda.so.1"


def test_forward_compatibility_in_one_arm_alone_is_found_with_both_libraries(gpu_arms, cuda_image):
    """As toolkit 1.17.5 and later do in Docker: the image's own libcuda in front."""
    pair = gpu_arms(b"the image's")
    (line,) = in_one_image(pair, cuda_image)
    assert "/usr/local/lib/libcuda.so.1" in line and "/var/driver/libcuda.so.1" in line
    assert "two drivers would be compared" in line and "Name an image for the CUDA version" in line
    assert [row[0] for row in alike.difference(*pair, cuda_image)] == ["variable LD_LIBRARY_PATH", "libcuda"]  # type: ignore[call-arg]
    followed = gpu_arms(b"the image's", HOOK % "580.95.05")
    assert in_one_image(followed, cuda_image) == [], "the chroot follows the hook"


def test_no_driver_in_either_is_alike_too(session_home, cuda_image):
    by_hand = GpuAccess(by="devices")
    pair = arms(session_home, *(spec.model_copy(update={"gpu": by_hand}) for spec in (DOCKER, CHROOT)))
    assert in_one_image(pair, cuda_image) == []
    assert "none (" in str(alike.loaded_libcuda(pair[0], cuda_image))
