"""What an image's programs are asked before anything runs, and what becomes of their answers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from actors.engines.trtllm.engine import TrtLlm
from actors.environments import EnvironmentError_
from actors.environments.registry import arm
from actors.gpu import capabilities
from actors.types import Environment, ImageIdentity, Model, Prepared, Workload

IMAGE = ImageIdentity(reference="r", digest="sha256:0123456789abcdef")
FULL = "--seed SEED --random-input-len N --random-output-len N --num-warmups N"
GROUPS = "For full list: vllm bench throughput --help=all\\nFor a section: --help=ModelConfig"


def asked(tmp_path: Path, engine: str, script: str, image: ImageIdentity | None = None) -> dict[str, str]:
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("vllm", "trtllm-bench"):
        (programs / name).write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n{script}\n')
        (programs / name).chmod(0o755)
    spec = Environment(name="native-host", kind="native-host", variables={"PATH": f"{programs}:{os.environ['PATH']}"})
    return capabilities.ask(engine, arm(spec, tmp_path / "home"), image, tmp_path / "home")


def test_the_full_list_is_asked_for_first(tmp_path: Path) -> None:
    told = asked(tmp_path, "vllm", f'case "$*" in *=all) echo "{FULL}";; *) echo "{GROUPS}";; esac')
    assert {fact: text.strip() for fact, text in told.items()} == {"help_throughput": FULL, "help_serve": FULL}
    assert "--help\n" not in (tmp_path / "asked").read_text()


def test_where_all_is_not_understood_plain_help_is_asked(tmp_path: Path) -> None:
    refuses = "echo \"vllm: error: argument -h/--help: ignored explicit argument 'all'\" >&2; exit 2"
    told = asked(tmp_path, "vllm", f'case "$*" in *=all) {refuses};; *) echo "{FULL}";; esac')
    assert told["help_throughput"].strip() == FULL


def test_a_list_of_groups_replaces_no_knowledge_of_options(tmp_path: Path) -> None:
    assert asked(tmp_path, "vllm", f'printf "{GROUPS}"') == {}


def test_an_answer_is_kept_by_image_and_by_the_question(tmp_path: Path) -> None:
    told = asked(tmp_path, "vllm", f'echo "{FULL}"', IMAGE)
    assert asked(tmp_path, "vllm", "exit 9", IMAGE) == told
    [kept] = (tmp_path / "home" / "probes").iterdir()
    kept.write_text(json.dumps({"help_throughput": GROUPS}))  # as an older version kept them
    with pytest.raises(EnvironmentError_):
        asked(tmp_path, "vllm", "exit 9", IMAGE)


def test_a_program_that_cannot_tell_its_options_is_an_error_with_its_last_words_cause_and_remedy(
    tmp_path: Path,
) -> None:
    words = "ImportError: libnvinfer.so.10: cannot open shared object file: No such file or directory"
    trace = (
        f"echo 'Traceback (most recent call last):' >&2; echo '  File \"x.py\", line 1, in f' >&2; echo '{words}' >&2"
    )
    with pytest.raises(EnvironmentError_) as error:
        asked(tmp_path, "trtllm", f"{trace}; exit 1")
    said = str(error.value)
    assert "`trtllm-bench --model probe/probe throughput --help`" in said
    assert "ends with 1 (library_missing: libnvinfer.so.10 is not found)" in said
    assert f"  {words}" in said
    assert said.splitlines()[-1].startswith("Start through the image's entry point")


def test_an_unknown_failure_is_told_in_the_programs_words(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentError_, match=r"(?s)ends with 3\. .*the moon.*by hand"):
        asked(tmp_path, "vllm", "echo the moon is in the wrong phase; exit 3")


def test_what_the_image_told_decides_before_anything_runs(tmp_path: Path) -> None:
    told = asked(tmp_path, "trtllm", 'echo "--backend [pytorch|_autodeploy] --engine_dir D --request_json F"')
    model = Model(name="gemma-2b", engines=("trtllm",), backend="tensorrt", huggingface_id="google/gemma-2b")
    workload = Workload(name="w", requests=1, input_tokens=1, output_tokens=1)
    with pytest.raises(Exception, match="TensorRT backend, which this image's trtllm-bench has no more"):
        TrtLlm().command(model, workload, Prepared(files={"weights": "/w", "dataset": "/d"}, facts=dict(told)))
