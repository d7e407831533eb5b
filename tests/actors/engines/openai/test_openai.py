"""An endpoint that speaks OpenAI's completions, started by its hook: llama.cpp's server, asked for real."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pyarrow import parquet

from actors.engines import EngineError
from actors.engines.llamacpp import gguf_file
from actors.engines.openai.engine import OpenAi
from actors.engines.parse import parse_file
from actors.environments.registry import arm
from actors.gpu.attempt import launch_of
from actors.types import Attempt, Environment, Gate, Model, Prepared, RandomWeights, Report, Workload

SERVER = """\
import sys, time
import xllamacpp as llama
p = llama.CommonParams()
p.model.path, p.port, p.model_alias = sys.argv[1], int(sys.argv[2]), {sys.argv[3]}
p.n_parallel, p.n_ctx, p.warmup, p.fit_params, p.ui = 2, 512, False, False, False
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
server = llama.Server(p)
while True:
    time.sleep(60)
"""
SHAPE = RandomWeights(layers=2, hidden_size=64, feed_forward_size=128, heads=4, kv_heads=2, vocabulary=1024)
WORKLOAD = Workload(name="w", requests=5, input_tokens=6, output_tokens=4, concurrency=2, warmup_requests=1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, _ = gguf_file.weights(
        Model(name="drawn", engines=("llamacpp",), random_weights=SHAPE), tmp_path_factory.mktemp("weights")
    )
    return path


def model(folder: Path, weights: Path, port: int, **options: object) -> Model:
    (folder / "server.py").write_text(SERVER)
    start = f"exec {sys.executable} {folder / 'server.py'} {{weights}} {{port}} {{model}}"
    own = {"start": start, "url": f"http://127.0.0.1:{port}/v1", "token_ids": [300, 900], "ready_s": 60, **options}
    return Model(name="tiny", engines=("openai",), path=str(weights), engine_options={"openai": own})


def carried_out(asked: Model, folder: Path) -> tuple[int | None, Report]:
    """The attempt's program through a native-host arm, and what its engine reads of it."""
    engine, spec, output = OpenAi(), Environment(name="h", kind="native-host"), folder / "output"
    prepared = engine.prepare(asked, WORKLOAD, folder / "cache")
    output.mkdir()
    order = Attempt(
        campaign="c", campaign_id="c", run_id="r", attempt=1, unit="u", engine="openai", model=asked, workload=WORKLOAD,
            environment=spec,
        gate=Gate(), prepared=prepared, image=None,
    )  # fmt: skip
    labels = {"campaign": "c", "run": "r", "attempt": "1"}
    process = arm(spec, folder).create(launch_of(order, engine, output), labels, folder, None)
    process.start()
    ended = process.wait(120)
    process.close()
    assert ended is not None
    return ended.code, engine.parse(output, asked, WORKLOAD, prepared)


def test_a_real_server_is_started_asked_and_ended(weights: Path, tmp_path: Path) -> None:
    code, report = carried_out(model(tmp_path, weights, 18941), tmp_path)
    assert (code, report.failure, report.model_identity) == (0, None, "tiny"), (tmp_path / "stderr.log").read_text()
    assert (report.requests_answered, report.requests_failed, report.tokens_generated) == (5, 0, 20)
    found = {metric.name: metric for metric in report.metrics}
    assert all(metric.value is not None or metric.reason for metric in found.values())
    rows = parquet.read_table(tmp_path / "requests.parquet").to_pylist()
    assert [row["output_tokens"] for row in rows] == [4] * 5 and all(row["ok"] and row["answer_sha256"] for row in rows)
    assert found["latency_mean_ms"].value == pytest.approx(sum(row["latency_ms"] for row in rows) / 5)
    assert 0 < (found["ttft_mean_ms"].value or 0) < (found["latency_mean_ms"].value or 0)
    steady_s = found["steady_s"].value
    assert steady_s is not None and found["token_throughput_tok_s"].value == pytest.approx(20 / steady_s)
    texts = OpenAi().texts(tmp_path / "output")
    assert texts is not None and len(texts) == 5
    assert parse_file("openai", tmp_path / "output" / "report.json")["requests_answered"] == 5


def test_another_model_behind_the_endpoint_is_refused(weights: Path, tmp_path: Path) -> None:
    asked = model(
        tmp_path, weights, 18942, start=f"exec {sys.executable} {tmp_path / 'server.py'} {{weights}} {{port}} another"
    )
    code, report = carried_out(asked, tmp_path)
    assert code == 1 and report.failure == "model_identity: asked for tiny, the server has another"


def test_a_server_that_ends_is_told_by_its_own_words(weights: Path, tmp_path: Path) -> None:
    asked = model(
        tmp_path,
        weights,
        18943,
        start="echo 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 9 GiB' >&2; exit 1",
    )
    code, report = carried_out(asked, tmp_path)
    assert code == 1 and report.requests_answered == 0
    assert report.failure is not None and (
        "memory" in report.failure or "ended with 1 before it was ready" in report.failure
    )
    assert all(metric.value is None and metric.reason for metric in report.metrics)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "nothing says how its server is started, or where it is"),
        ({"start": "x {weights}"}, "its server wants {weights}, and the entry has none"),
        ({"start": "x", "restart": "y"}, "engine_options: openai: restart"),
        ({"start": "x", "ready_s": 0}, "engine_options: openai: ready_s"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_runs(
    options: dict[str, object], said: str, tmp_path: Path
) -> None:
    asked = Model(name="m", engines=("openai",), engine_options={"openai": options})
    with pytest.raises(EngineError) as caught:
        OpenAi().prepare(asked, WORKLOAD, tmp_path)
    assert said in str(caught.value)


def test_only_its_three_names_are_filled_in() -> None:
    asked = Model(
        name="m", engines=("openai",), engine_options={"openai": {"start": "s {model} {port} {other} ${HOME}"}}
    )
    prepared = Prepared(files={"dataset": "/d", "program": "/p.py"}, facts={"model_identity": "m"})
    argv = OpenAi().command(asked, WORKLOAD, prepared).argv
    assert "--start=s m 18918 {other} ${HOME}" in argv
