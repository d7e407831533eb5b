"""The driver's files for a chroot, from the toolkit's own description of a container."""

from __future__ import annotations

import os

import pytest
import yaml

from actors.environments import OptionRefused, driver
from actors.environments.native import NativeArm
from actors.types import Environment, GpuAccess, Launch


@pytest.fixture
def specification(tmp_path):
    """In the form that ``nvidia-ctk cdi generate`` writes (toolkit 1.17), with libraries that are here."""
    folder = tmp_path / "lib"
    folder.mkdir()
    (folder / "libcuda.so.580.95.05").write_text("driver")
    (folder / "libcuda.so.1").symlink_to("libcuda.so.580.95.05")
    (folder / "libcuda.so").symlink_to("libcuda.so.1")
    (folder / "libcudart.so.12").write_text("not the driver's")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    return yaml.safe_load(f"""
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
    args: [nvidia-cdi-hook, create-symlinks, --link, libcuda.so.1::/usr/lib/libcuda.so]
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, enable-cuda-compat, --host-driver-version=580.95.05]
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, update-ldcache, --folder, /usr/lib]
  mounts:
  - hostPath: {folder}/libcuda.so.580.95.05
    containerPath: /var/driver/libcuda.so.580.95.05
    options: [ro, nosuid, nodev, bind]
  - hostPath: {tmp_path}/nvidia-smi
    containerPath: /usr/bin/nvidia-smi
    options: [ro, nosuid, nodev, bind]
  - hostPath: {tmp_path}/no-such-socket
    containerPath: /run/nvidia-persistenced/socket
    options: [ro, nosuid, nodev, bind, noexec]
""")


def test_libraries_come_with_the_names_that_lead_to_them(specification):
    mounts, notes = driver.from_cdi(specification)
    assert {mount.target for mount in mounts} == {
        "/var/driver/libcuda.so.580.95.05", "/var/driver/libcuda.so.1", "/var/driver/libcuda.so",
        "/usr/bin/nvidia-smi",
    }  # fmt: skip
    assert len({mount.source for mount in mounts}) == 2 and all(mount.read_only for mount in mounts)
    assert notes == [
        "the toolkit's hook `nvidia-cdi-hook enable-cuda-compat --host-driver-version=580.95.05` is not run in a chroot"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="a chroot needs root")
def test_a_chroot_sees_them(specification, monkeypatch, labels, logs, session_home, local_image, tmp_path):
    (tmp_path / "nvidia.yaml").write_text(yaml.safe_dump(specification))
    monkeypatch.setattr(driver, "WRITTEN", (tmp_path / "nvidia.yaml",))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    spec = Environment(name="n", kind="native-chroot", gpu=GpuAccess(by="toolkit"))
    program = "print(open('/var/driver/libcuda.so.1').read())"
    launch = Launch(argv=("python3", "-I", "-S", "-c", program))
    process = NativeArm(spec, session_home).create(launch, labels, logs, local_image)
    process.start()
    ended = process.wait(60)
    process.close()
    assert ended is not None and ended.code == 0
    assert (logs / "stdout.log").read_text().split(" ")[1] == "driver\n"
    assert any("enable-cuda-compat" in note for note in process.command["notes"])


def test_without_a_toolkit_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(driver, "WRITTEN", (tmp_path / "none",))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OptionRefused, match="install nvidia-container-toolkit") as caught:
        driver.mounts()
    assert caught.value.option == "gpu"
