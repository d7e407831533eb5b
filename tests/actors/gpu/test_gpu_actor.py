"""A unit is one GPU: which one, and why, before anything is measured on it."""

from __future__ import annotations

import stat
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

from actors.gpu import actor as gpu
from actors.sensors.gpus import Gpu


def card(index: int, pids: tuple[int, ...] = (), name: str = "NVIDIA H100 80GB HBM3") -> Gpu:
    return Gpu(uuid=f"GPU-{index}0000000-aaaa", index=index, name=name, pci_bus_id=f"0000000{index}:01:00.0", pids=pids)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch):
    def have(*cards: Gpu) -> None:
        monkeypatch.setattr(gpu.gpus, "gpus", lambda: list(cards))

    return have


def test_the_only_one_needs_no_words(host) -> None:
    host(card(0))
    assert gpu.choose_gpu(()) == gpu.Chosen("GPU-00000000-aaaa")


def test_a_machine_without_one_has_none_unless_it_is_asked_for(host) -> None:
    host()
    assert gpu.choose_gpu(()) == gpu.Chosen(None)
    with pytest.raises(gpu.NoGpu, match="no GPU answers here, and the campaign asks for GPU-1"):
        gpu.choose_gpu(("GPU-1",))


def test_of_several_the_first_that_nobody_uses_and_it_says_so(host) -> None:
    host(card(0, pids=(77,)), card(1), card(2))
    chosen = gpu.choose_gpu(())
    assert chosen.uuid == card(1).uuid
    assert "the first of 3 that nobody uses" in chosen.words and "number 1" in chosen.words


def test_all_in_use_is_refused_with_who_uses_them(host) -> None:
    host(card(0, pids=(77,)), card(1, pids=(78,)))
    with pytest.raises(gpu.NoGpu, match=r"all 2 GPUs here are in use.*77.*78.*`gpus:`"):
        gpu.choose_gpu(())


@pytest.mark.parametrize("wanted", ["1", "GPU-10000000-aaaa", "GPU-1", "00000001:01:00.0"])
def test_the_campaign_chooses_by_number_uuid_or_address(host, wanted: str) -> None:
    host(card(0), card(1))
    assert gpu.choose_gpu((wanted,)).uuid == card(1).uuid


def test_a_list_for_several_hosts_takes_the_one_that_is_here(host) -> None:
    host(card(1))
    assert gpu.choose_gpu(("GPU-9", "GPU-1")).uuid == card(1).uuid
    with pytest.raises(gpu.NoGpu, match="none of GPU-8, GPU-9 is here: NVIDIA H100"):
        gpu.choose_gpu(("GPU-8", "GPU-9"))


def test_a_node_that_others_started_says_it_by_rays_assignment(host) -> None:
    host(card(0), card(1))
    assert gpu.choose_gpu((), assigned=("1",)).uuid == card(1).uuid


def test_a_resumed_unit_keeps_its_card_or_refuses(host) -> None:
    host(card(0), card(1))
    assert gpu.choose_gpu((), before=card(1).uuid).uuid == card(1).uuid
    with pytest.raises(gpu.NoGpu, match="no GPU is 'GPU-7'"):
        gpu.choose_gpu((), before="GPU-7")


@pytest.fixture
def unit(home: Path) -> gpu.GpuActor:
    return gpu.GpuActor("u", "c", "spool/c/u", None)


def test_nobody_else_may_put_anything_into_the_spool(unit: gpu.GpuActor) -> None:
    """A folder of the engine's below one that others could enter took a link to a file of root's."""
    assert stat.S_IMODE(unit.spool.stat().st_mode) == 0o700


def test_a_spool_without_space_is_the_units_trouble_with_a_remedy(
    unit: gpu.GpuActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unit.trouble() is None
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(gpu.shutil, "disk_usage", lambda _: usage(2**30, 2**30 - 2**20, 2**20))
    assert (unit.trouble() or "").endswith("has 1 MiB left, 64 MiB are needed: make space")


def test_a_spool_that_cannot_be_written_to_is_the_units_trouble(unit: gpu.GpuActor) -> None:
    unit.spool.rmdir()
    assert "cannot be written to: No such file" in (unit.trouble() or "")


def test_an_abort_that_comes_before_its_attempt_is_not_lost(
    unit: gpu.GpuActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the moment of a dispatch let the attempt run to its end."""
    seen: list[bool] = []
    monkeypatch.setattr(gpu.attempts, "carry_out", lambda order, *, stop, **_: seen.append(stop.is_set()))
    monkeypatch.setattr(gpu, "engine_of", lambda name: SimpleNamespace(cache_variables={}))
    unit.arms["arm"] = None
    order = SimpleNamespace(
        engine="e", environment=SimpleNamespace(name="arm"), watchdog=SimpleNamespace(driver_s=60.0)
    )
    unit.abort()
    unit.attempt(order)  # type: ignore[arg-type]
    assert seen == [True]
