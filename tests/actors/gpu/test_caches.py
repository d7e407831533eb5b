"""Every measured attempt starts from a copy of the same compiled kernels, and what it adds is counted."""

from __future__ import annotations

from pathlib import Path

from actors.gpu import caches
from actors.types import Attempt, Environment, Gate, Model, Prepared, Workload


def order(place: Path | None, fills: bool = False) -> Attempt:
    return Attempt(
        campaign="c",
        campaign_id="c1",
        run_id="r",
        attempt=1,
        unit="u",
        engine="vllm",
        model=Model(name="m", engines=("vllm",), path="/m"),
        workload=Workload(name="w", requests=1, input_tokens=1, output_tokens=1),
        environment=Environment(name="native-chroot", kind="native-chroot"),
        gate=Gate(),
        prepared=Prepared(),
        image=None,
        caches=str(place) if place else None,
        fills_caches=fills,
    )


def test_a_measured_attempt_works_on_a_copy_that_goes_with_it(tmp_path: Path) -> None:
    prepared, spool = tmp_path / "prepared", tmp_path / "spool"
    (prepared / "triton").mkdir(parents=True)
    (prepared / "triton" / "a.so").write_bytes(b"a")
    (prepared / "link").symlink_to("triton/a.so")
    before = caches.digest(prepared)
    seen = caches.for_attempt(order(prepared), spool)
    assert seen is not None and seen != prepared and caches.digest(seen) == before
    (seen / "triton" / "b.so").write_bytes(b"b")
    metric = caches.after(order(prepared), seen)
    assert metric is not None and (metric.name, metric.value) == ("compile_cache_new_files", 1.0)
    assert caches.digest(prepared) == before and not seen.exists()


def test_the_shakedown_fills_the_prepared_ones_themselves(tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    filling = order(prepared, fills=True)
    assert caches.for_attempt(filling, tmp_path / "spool") == prepared and prepared.is_dir()
    assert caches.after(filling, prepared) is None


def test_an_engine_that_compiles_nothing_has_none(tmp_path: Path) -> None:
    assert caches.for_attempt(order(None), tmp_path) is None
    assert caches.digest(tmp_path / "absent") is None


def test_any_change_changes_the_digest(tmp_path: Path) -> None:
    place = tmp_path / "p"
    place.mkdir()
    seen = {caches.digest(place)}
    for change in (
        lambda: (place / ".hidden").write_bytes(b"x"),
        lambda: (place / ".hidden").write_bytes(b"y"),
        lambda: (place / ".hidden").rename(place / "shown"),
        lambda: (place / "to").symlink_to("shown"),
    ):
        change()
        seen.add(caches.digest(place))
    assert len(seen) == 5
