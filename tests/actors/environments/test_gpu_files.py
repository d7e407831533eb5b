"""The driver's files and the linker's cache of a chroot, from the toolkit's own description of a container."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import yaml
from given_arms import libcuda, lines_of, python

from actors.environments import OptionRefused, gpu_files
from actors.environments.docker.rootfs import check_rootfs
from actors.environments.native import cuda_compat, linker
from actors.environments.native.arm import planned
from actors.environments.registry import arm as arm_of
from actors.types import Environment, GpuAccess, ImageIdentity

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a chroot needs root")
CHROOT = Environment(name="n", kind="native-chroot", gpu=GpuAccess(by="toolkit"))
HOOK = (
    "\n  - {hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, "
    "enable-cuda-compat, --host-driver-version=%s]}"
)
WHICH = """
import ctypes, hashlib
ctypes.CDLL("libcuda.so.1")
path = next(line.split()[-1] for line in open("/proc/self/maps") if "libcuda" in line)
print(hashlib.sha256(open(path, "rb").read()).hexdigest(), path)
"""


def text(folder: Path, version: str = "580.95.05", compat: str = "") -> str:
    """In the form that ``nvidia-ctk cdi generate`` writes (toolkit 1.17), with libraries that are here."""
    return f"""
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
- name: all
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
containerEdits:
  env: [NVIDIA_VISIBLE_DEVICES=void]
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, create-symlinks, --link, libcuda.so.1::/usr/lib/libcuda.so]{compat}
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, disable-device-node-modification]
  - {{hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, apply-something-new, --hard]}}
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, update-ldcache, --folder, /var/driver, --folder=/var/driver/vdpau]
  mounts:
  - hostPath: {folder}/libcuda.so.{version}
    containerPath: /var/driver/libcuda.so.{version}
    options: [ro, nosuid, nodev, bind]
  - hostPath: {folder}/nvidia-smi
    containerPath: /usr/bin/nvidia-smi
    options: [ro, nosuid, nodev, bind]
  - hostPath: {folder}/no-such-socket
    containerPath: /run/nvidia-persistenced/socket
    options: [ro, nosuid, nodev, bind, noexec]
"""


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host with a driver and a CDI specification; the folder of both."""
    folder = tmp_path / "driver"
    folder.mkdir()
    (folder / "libcuda.so.580.95.05").write_bytes(libcuda(b"the driver's"))
    (folder / "libcuda.so.1").symlink_to("libcuda.so.580.95.05")
    (folder / "libcuda.so").symlink_to("libcuda.so.1")
    (folder / "libcudart.so.12").write_text("not the driver's")
    (folder / "nvidia-smi").write_text("#!/bin/sh\n")
    (folder / "nvidia.yaml").write_text(text(folder))
    monkeypatch.setattr(gpu_files, "WRITTEN", (folder / "nvidia.yaml",))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return folder


def digest(whose: str) -> str:
    return hashlib.sha256(libcuda(whose.encode())).hexdigest()


def run(program: str, labels, logs: Path, home: Path, image: ImageIdentity, spec: Environment = CHROOT):
    for log in logs.iterdir():
        log.unlink()
    process = arm_of(spec, home).create(python(program), labels, logs, image)
    process.start()
    ended = process.wait(60)
    process.close()
    assert ended is not None and ended.code == 0, (logs / "stderr.log").read_text()
    return lines_of(logs / "stdout.log"), process.command


def test_libraries_come_with_the_names_that_lead_to_them(host):
    found = gpu_files.from_cdi(yaml.safe_load(text(host)))
    assert {mount.target for mount in found.mounts} == {
        "/var/driver/libcuda.so.580.95.05", "/var/driver/libcuda.so.1", "/var/driver/libcuda.so",
        "/usr/bin/nvidia-smi",
    }  # fmt: skip
    assert len({mount.source for mount in found.mounts}) == 2 and all(mount.read_only for mount in found.mounts)
    assert found.folders == ("/var/driver", "/var/driver/vdpau")
    assert found.compat is None


def test_only_hooks_whose_work_is_left_undone_are_noted(host):
    found = gpu_files.from_cdi(yaml.safe_load(text(host, compat=HOOK % "580.95.05")))
    assert found.notes == ["the toolkit's hook `nvidia-cdi-hook apply-something-new --hard` is not run in a chroot"]
    assert found.compat == {"host-driver-version": "580.95.05"}


def test_without_a_toolkit_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_files, "WRITTEN", (tmp_path / "none",))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OptionRefused, match="install nvidia-container-toolkit") as caught:
        gpu_files.found()
    assert caught.value.option == "gpu"


# --- the linker's cache -----------------------------------------------------------------------------------------------


@needs_root
def test_in_a_chroot_the_driver_is_in_the_linkers_cache_and_opens_by_name(host, labels, logs, session_home, cuda_image):
    program = (
        WHICH
        + 'import subprocess; print(subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout)'
    )
    (which, *listed), _ = run(program, labels, logs, session_home, cuda_image)
    assert which == digest("the driver's") + " /var/driver/libcuda.so.1"
    assert any(line.split()[0] == "libcuda.so.1" and "/var/driver/" in line for line in listed if "=>" in line)
    assert any("libc.so.6" in line for line in listed), "the image's own libraries are still in it"
    assert check_rootfs(cuda_image, deep=True) == []


@needs_root
def test_the_hosts_ldconfig_makes_it_for_an_image_without_one(host, labels, logs, session_home, local_image):
    (which,), _ = run(WHICH, labels, logs, session_home, local_image)
    assert which.endswith(" /var/driver/libcuda.so.1")


@needs_root
def test_a_cache_is_made_once_for_an_image_and_a_driver(host, labels, logs, session_home, cuda_image):
    def source():
        _, command = run("pass", labels, logs, session_home, cuda_image)
        assert "/etc/ld.so.cache" in command["shell"]
        order = arm_of(CHROOT, session_home).create(python("pass"), labels, logs, cuda_image)
        order.close()
        return next(line for line in command["shell"].split() if line.endswith("ld.so.cache") and "linker" in line)

    first, again = source(), source()
    assert first == again
    made = Path(first).stat().st_mtime_ns
    assert source() == first and Path(first).stat().st_mtime_ns == made
    (host / "libcuda.so.580.95.05").write_bytes(libcuda(b"a newer driver"))
    assert source() != first
    said = planned(CHROOT, python("pass"), labels, cuda_image, session_home)["shell"]
    assert source() in said, "a planned command names the same file"


@needs_root
def test_a_cache_that_cannot_be_made_is_refused_before_the_gate(
    host, labels, logs, session_home, cuda_image, monkeypatch
):
    monkeypatch.setattr(linker, "make", lambda *_: "ldconfig: Input file /x not found.")
    with pytest.raises(OptionRefused, match=r"linker cache.*Input file") as caught:
        arm_of(CHROOT, session_home).create(python("pass"), labels, logs, cuda_image)
    assert caught.value.option == "gpu"


@needs_root
def test_why_ldconfig_fails_is_passed_on(session_home, tmp_path):
    (tmp_path / "root").mkdir()
    missing = [{"kind": "bind", "source": "/no/such/library", "target": "/lib/x.so", "read_only": True}]
    why = linker.make(str(tmp_path / "root"), missing, ["/lib"], None, tmp_path / "made" / "ld.so.cache")
    assert "/no/such/library" in why
    assert list((tmp_path / "made").iterdir()) == []


# --- forward compatibility --------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize(
    ("driver_version", "whose"),
    [("580.95.05", "the image's"), ("590.10.01", "the driver's"), ("610.1", "the driver's")],
)
def test_the_images_libcuda_comes_first_where_the_toolkits_hook_would_put_it(
    driver_version, whose, host, labels, logs, session_home, cuda_image
):
    """The image has 590.48.01; the hook compares major versions."""
    (host / "nvidia.yaml").write_text(text(host, compat=HOOK % driver_version))
    (which,), command = run(WHICH, labels, logs, session_home, cuda_image)
    assert which.split()[0] == digest(whose)
    noted = [note for note in command["notes"] if "forward compatibility" in note]
    if whose == "the image's":
        assert "590.48.01" in noted[0] and driver_version in noted[0] and "/usr/local/cuda-13.1/compat" in noted[0]
    else:
        assert noted == []


def root_with(folder: Path, *names: str, cache: bool = True, content: bytes = b"") -> str:
    at = folder / "usr/local/cuda/compat"
    at.mkdir(parents=True)
    for name in names:
        (at / name).write_bytes(content)
    (folder / "etc").mkdir()
    if cache:
        (folder / "etc/ld.so.cache").write_text("")
    return str(folder)


@pytest.mark.parametrize(
    ("names", "cache", "options", "used", "why"),
    [
        (["libcuda.so.590.48"], True, {"host-driver-version": "580.1"}, True, "590.48"),
        (["libcuda.so.580.2"], True, {"host-driver-version": "580.1"}, False, "580.2"),
        (["libcuda.so.570.2"], True, {"host-driver-version": "580.1"}, False, "570.2"),
        (["libcuda.so.590.48"], False, {"host-driver-version": "580.1"}, False, "no linker cache"),
        (["libcuda.so.590.48", "libcuda.so.595.1"], True, {"host-driver-version": "580.1"}, False, "holds 2"),
        ([], True, {"host-driver-version": "580.1"}, False, "holds 0"),
        (["libcuda.so.590.48"], True, {}, False, "not told"),
    ],
)  # fmt: skip
def test_the_hooks_rule_is_followed(names, cache, options, used, why, tmp_path):
    folder, said = cuda_compat.compat_folder(root_with(tmp_path, *names, cache=cache), options)
    assert folder == ("/usr/local/cuda/compat" if used else None) and why in said


@pytest.mark.parametrize(("host_cuda", "used"), [("13.0", True), ("13.1", False), ("13.2", False), ("12.10", True)])
def test_newer_hooks_compare_cuda_versions(host_cuda, used, tmp_path):
    """nvidia-container-toolkit 1.19: the version is in a note of the library."""
    note = b'\x7fELF\0\0{"Format": 1, "CUDA Version": "13.1", "Driver": [580], "Device": []}\0'
    root = root_with(tmp_path, "libcuda.so.590.48", content=note)
    folder, _ = cuda_compat.compat_folder(root, {"host-driver-version": "595.1", "host-cuda-version": host_cuda})
    assert (folder is not None) == used
