"""A unit is one GPU, known by its UUID; every arm gets that one and no other."""

from __future__ import annotations

import shlex

import pytest
from given_arms import python

from actors.environments import OptionRefused, describe, gpu_files, gpus, resolve
from actors.environments.docker import DOCKER
from actors.environments.docker.options import merge, options, parameters, shell_line
from actors.environments.gpus import Gpu
from actors.environments.registry import arm
from actors.sensors.recorded import RecordedNvml
from actors.sensors.trouble import Trouble
from actors.types import Environment, GpuAccess, ImageIdentity, Launch

FIRST = Gpu("GPU-11111111-0000-0000-0000-000000000000", 0, 1)
SECOND = Gpu("GPU-22222222-0000-0000-0000-000000000000", 1, 0)
"""Minor numbers need not follow the order of PCI addresses."""
IMAGE = ImageIdentity(reference="image:1", digest="sha256:1", rootfs="/root")
LABELS = {"campaign": "c", "run": "r", "attempt": "1"}


def test_the_gpus_of_an_arm_are_those_that_the_sensors_find(monkeypatch):
    cards = [
        {"nvmlDeviceGetUUID": one.uuid, "nvmlDeviceGetName": "NVIDIA H100", "nvmlDeviceGetMinorNumber": one.minor}
        for one in (FIRST, SECOND)
    ]
    untold = {"nvmlDeviceGetUUID": "GPU-3", "nvmlDeviceGetName": "NVIDIA H100"}
    answers = RecordedNvml({"gpus": [*cards, untold]})
    monkeypatch.setattr(gpus.sensors, "load", lambda: answers)
    assert gpus.known() == (FIRST, SECOND, Gpu("GPU-3", 2, None))
    monkeypatch.setattr(gpus.sensors, "load", lambda: Trouble("NO_DEVICE", "none", ""))
    assert gpus.known() == ()


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setattr(gpus, "known", lambda: (FIRST, SECOND))
    monkeypatch.setattr(gpu_files, "WRITTEN", ())


def docker(by: str, *devices: str) -> Environment:
    return Environment(name="d", kind="docker", gpu=GpuAccess.model_validate({"by": by, "devices": devices}))


def request(spec: Environment, uuid: str | None):
    (asked,) = merge(options(spec, uuid))["device_requests"]
    return asked["Driver"], asked["Count"], asked["DeviceIDs"]


@pytest.mark.parametrize(
    ("spec", "uuid", "asked"),
    [
        (docker("toolkit"), None, ("", -1, [])),
        (docker("toolkit"), SECOND.uuid, ("", 0, [SECOND.uuid])),
        (docker("toolkit", "all"), SECOND.uuid, ("", -1, [])),
        (docker("toolkit", "1"), SECOND.uuid, ("", 0, ["1"])),
        (docker("cdi"), None, ("cdi", 0, ["nvidia.com/gpu=all"])),
        (docker("cdi"), SECOND.uuid, ("cdi", 0, [f"nvidia.com/gpu={SECOND.uuid}"])),
        (docker("cdi", "all"), SECOND.uuid, ("cdi", 0, ["nvidia.com/gpu=all"])),
        (docker("cdi", "nvidia.com/gpu=all"), SECOND.uuid, ("cdi", 0, ["nvidia.com/gpu=all"])),
        (docker("cdi", "nvidia.com/gpu=1"), SECOND.uuid, ("cdi", 0, ["nvidia.com/gpu=1"])),
    ],
)  # fmt: skip
def test_a_container_gets_the_units_gpu_unless_the_arm_says_all(two, spec, uuid, asked):
    assert request(spec, uuid) == asked


@pytest.mark.parametrize(
    ("spec", "other"),
    [
        (docker("toolkit", "0"), "0"),
        (docker("toolkit", FIRST.uuid), FIRST.uuid),
        (docker("cdi", "nvidia.com/gpu=0"), "nvidia.com/gpu=0"),
        (docker("devices", "/dev/nvidiactl", "/dev/nvidia1"), "/dev/nvidia1"),
        (Environment(name="n", kind="native-chroot", gpu=GpuAccess(by="devices", devices=("/dev/nvidia1",))),
         "/dev/nvidia1"),
    ],
)  # fmt: skip
def test_an_arm_that_names_another_gpu_is_refused_with_both(two, spec, other):
    with pytest.raises(OptionRefused) as caught:
        gpus.check(spec, SECOND.uuid)
    assert caught.value.option == "gpu"
    for part in (other, FIRST.uuid, SECOND.uuid, "/dev/nvidia0"):
        assert part in caught.value.why


def test_nodes_that_are_the_units_are_taken_as_given(two):
    spec = docker("devices", "/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia-uvm")
    assert merge(options(spec, SECOND.uuid))["devices"] == [f"{node}:{node}:rwm" for node in spec.gpu.devices]
    assert gpus.check(spec, None) is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["0", "1", SECOND.uuid, "all"], SECOND.uuid),
        (["0", "1", "all"], "1"),
        ([], SECOND.uuid),
    ],
)
def test_the_cdi_name_is_the_one_that_the_host_knows(two, names, expected):
    nodes = {"0": ["/dev/nvidia1"], "1": ["/dev/nvidia0"], "all": ["/dev/nvidia0", "/dev/nvidia1"]}
    listed = [
        {
            "name": name,
            "containerEdits": {"deviceNodes": [{"path": path} for path in [*nodes.get(name, []), "/dev/nvidiactl"]]},
        }
        for name in names
    ]
    assert gpus.cdi_name(SECOND.uuid, {"devices": listed}) == f"nvidia.com/gpu={expected}"


def test_a_cdi_specification_without_the_gpu_is_refused_with_what_writes_it(two):
    with pytest.raises(OptionRefused, match=r"names 0 and no GPU GPU-2.*nvidia-ctk cdi generate"):
        gpus.cdi_name(SECOND.uuid, {"devices": [{"name": "0"}]})


def test_a_chroot_on_several_gpus_is_told_which_by_a_number_that_every_engine_reads(two, monkeypatch):
    chroot = Environment(name="n", kind="native-chroot", gpu=GpuAccess(by="toolkit"))
    chosen = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}
    assert gpus.selected(chroot, SECOND.uuid, in_container=False) == {"NVIDIA_VISIBLE_DEVICES": SECOND.uuid, **chosen}
    assert gpus.selected(Environment(name="h", kind="native-host"), SECOND.uuid, in_container=False) == chosen
    assert gpus.selected(docker("toolkit"), SECOND.uuid, in_container=True) == {"NVIDIA_VISIBLE_DEVICES": SECOND.uuid}
    everything = chroot.model_copy(update={"gpu": GpuAccess(by="toolkit", devices=("all",))})
    assert (
        gpus.selected(everything, SECOND.uuid, in_container=True)
        == {}
        == gpus.selected(chroot, None, in_container=False)
    )
    monkeypatch.setattr(gpus, "known", lambda: (SECOND,))
    assert "CUDA_VISIBLE_DEVICES" not in gpus.selected(chroot, SECOND.uuid, in_container=False), "there is no other"
    monkeypatch.setattr(gpus, "known", lambda: ())
    assert gpus.selected(chroot, SECOND.uuid, in_container=False)["CUDA_VISIBLE_DEVICES"] == SECOND.uuid, (
        "all that is known of it"
    )


def test_an_engine_of_the_host_is_given_the_choice_and_the_arm_can_overrule_it(two, labels, logs, session_home):
    spec = Environment(name="h", kind="native-host")
    process = arm(spec, session_home, SECOND.uuid).create(python("pass"), labels, logs, None)
    process.close()
    assert process.command["variables"]["CUDA_VISIBLE_DEVICES"] == "1"
    own = spec.model_copy(update={"variables": {"CUDA_VISIBLE_DEVICES": "0"}})
    assert (
        resolve.own_variables(own, Launch(argv=()), LABELS, SECOND.uuid, in_container=False)["CUDA_VISIBLE_DEVICES"]
        == "0"
    )


def test_shell_line_planned_command_and_difference_say_which(two, tmp_path):
    spec = docker("toolkit")
    line = shlex.split(
        shell_line(parameters(spec, python("pass"), LABELS, IMAGE, tmp_path, gpu_uuid=SECOND.uuid), "i", ())
    )
    assert line[line.index("--gpus") + 1] == f'"device={SECOND.uuid}"'
    assert SECOND.uuid in DOCKER.planned(spec, python("pass"), LABELS, IMAGE, tmp_path, SECOND.uuid)["shell"]
    assert describe.effective(spec, None, IMAGE, SECOND.uuid)["gpu"] == f"NVIDIA toolkit: {SECOND.uuid}"
    chroot = Environment(name="n", kind="native-chroot", gpu=GpuAccess(by="toolkit"))
    assert SECOND.uuid in describe.effective(chroot, None, IMAGE, SECOND.uuid)["gpu"]


def test_without_a_gpu_nothing_is_told(tmp_path):
    assert "device_requests" in options(docker("toolkit"))["gpu"]
    assert resolve.own_variables(docker("toolkit"), Launch(argv=()), LABELS, in_container=True) == {
        "CAMPAIGN_ATTEMPT": "c/r/1"
    }
