"""The prompts are the same on every machine, and are what was asked for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.engines import EngineError
from actors.engines.common.dataset import write_dataset
from actors.types import Workload

IDS = range(259, 4096)


def workload(requests: int = 5, input_tokens: int = 4, output_tokens: int = 6, seed: int = 420) -> Workload:
    return Workload(name="w", requests=requests, input_tokens=input_tokens, output_tokens=output_tokens, seed=seed)


def test_the_bytes_for_a_seed_never_change(tmp_path: Path) -> None:
    path, digest = write_dataset(tmp_path, workload(), IDS)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == "b1be3ffe8669d43e95983644e071104fb24e0cd7e43709a5e77bfd417f72a643", (
        "raise FORMAT if this is intended"
    )
    assert path.read_text().splitlines()[0] == '{"task_id":0,"input_ids":[3246,4053,829,1315],"output_tokens":6}'


@settings(max_examples=40)
@given(
    requests=st.integers(1, 20),
    input_tokens=st.integers(1, 30),
    output_tokens=st.integers(1, 500),
    seed=st.integers(0, 2**40),
    start=st.integers(0, 3000),
    width=st.integers(1, 300_000),
)
def test_every_line_is_what_trtllm_bench_reads(
    tmp_path_factory: pytest.TempPathFactory,
    requests: int,
    input_tokens: int,
    output_tokens: int,
    seed: int,
    start: int,
    width: int,
) -> None:
    ids = range(start, start + width)
    path, _ = write_dataset(tmp_path_factory.mktemp("d"), workload(requests, input_tokens, output_tokens, seed), ids)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["task_id"] for line in lines] == list(range(requests))
    for line in lines:
        assert set(line) == {"task_id", "input_ids", "output_tokens"}
        assert line["output_tokens"] == output_tokens
        assert len(line["input_ids"]) == input_tokens
        assert all(token in ids for token in line["input_ids"])


def test_anything_that_changes_the_prompts_changes_the_file(tmp_path: Path) -> None:
    asked = [(workload(), IDS), (workload(seed=421), IDS), (workload(requests=6), IDS), (workload(), range(259, 4095))]
    written = [write_dataset(tmp_path, *each) for each in asked]
    assert len({path for path, _ in written}) == len({digest for _, digest in written}) == len(asked)


def test_a_file_that_is_there_is_not_written_again_and_a_damaged_one_is(tmp_path: Path) -> None:
    path, digest = write_dataset(tmp_path, workload(), IDS)
    before = path.stat().st_ino
    assert write_dataset(tmp_path, workload(), IDS) == (path, digest)
    assert path.stat().st_ino == before
    path.write_bytes(path.read_bytes()[:-20])
    assert write_dataset(tmp_path, workload(), IDS) == (path, digest)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert list(tmp_path.iterdir()) == [path]


def test_there_must_be_ids_to_draw_from(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no token ids"):
        write_dataset(tmp_path, workload(), range(5, 5))
