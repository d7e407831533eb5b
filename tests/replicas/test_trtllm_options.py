"""The replica's trtllm-bench takes what each version takes, and nothing else (facts of the published references)."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from replicas.programs.trtllm_options import program

VERSIONS = ("1.0.0", "1.1.0rc3", "1.2.0", "1.3.0rc13")
SINCE = {
    # subcommand, option: versions that list it
    ("throughput", "--request_json"): VERSIONS,
    ("throughput", "--extra_llm_api_options"): VERSIONS,
    ("throughput", "--config"): VERSIONS[2:],
    ("throughput", "--engine_dir"): VERSIONS,
    ("throughput", "--streaming"): VERSIONS,
    ("throughput", "--disable_chunked_context"): VERSIONS[1:],
    ("throughput", "--sampler_options"): VERSIONS[1:],
    ("throughput", "--custom_module_dirs"): VERSIONS[1:],
    ("throughput", "--duration"): VERSIONS[3:],
    ("throughput", "--custom_tokenizer"): VERSIONS[3:],
    ("latency", "--backend"): VERSIONS,
    ("latency", "--extra_llm_api_options"): VERSIONS[1:],
    ("latency", "--sampler_options"): VERSIONS[1:],
    ("latency", "--config"): VERSIONS[2:],
    ("latency", "--streaming"): (),
    ("latency", "--max_batch_size"): (),
    ("latency", "--max_num_tokens"): (),
    ("latency", "--request_json"): (),
    ("latency", "--output_json"): (),
}


def bench(version: str) -> click.Group:
    """The command line alone: it says what it was given."""

    def body(**given: object) -> None:
        click.echo(repr(given))

    return program(version, dict.fromkeys(("throughput", "latency", "build"), body), lambda **given: None)


def run(version: str, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(bench(version), words)
    return done.exit_code, done.output


def listed(version: str, subcommand: str) -> set[str]:
    code, text = run(version, "--model", "a/b", subcommand, "--help")
    assert code == 0, text
    return set(re.findall(r"--[a-z]\w*", text))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("subcommand", "option"), SINCE)
def test_an_option_is_listed_by_the_versions_that_have_it(version, subcommand, option):
    assert (option in listed(version, subcommand)) == (version in SINCE[subcommand, option])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_model_stands_before_the_subcommand_even_for_its_help(version):
    code, said = run(version, "throughput", "--help")
    assert code == 2
    assert "Missing option '--model'" in said
    code, said = run(version, "throughput", "--model", "a/b", "--help")
    assert code == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unknown_option_is_refused_in_clicks_words(version, tmp_path):
    dataset = tmp_path / "d.jsonl"
    dataset.write_text("")
    code, said = run(version, "--model", "a/b", "latency", "--dataset", str(dataset), "--max_batch_size", "1")
    assert code == 2
    assert "No such option" in said


def test_the_tensorrt_backend_is_a_choice_up_to_1_2_though_1_3_still_lists_its_folder(tmp_path):
    dataset = tmp_path / "d.jsonl"
    dataset.write_text("")
    for version in VERSIONS:
        code, said = run(version, "--model", "a/b", "throughput", "--dataset", str(dataset), "--backend", "tensorrt")
        assert (code == 0) == (version != "1.3.0rc13"), said
        assert "--engine_dir" in listed(version, "throughput")


def test_building_went_with_the_tensorrt_backend():
    assert [run(version, "--model", "a/b", "build", "--help")[0] for version in VERSIONS] == [0, 0, 0, 2]


def test_defaults_are_the_published_ones(tmp_path):
    dataset = tmp_path / "d.jsonl"
    dataset.write_text("")
    for version in VERSIONS:
        code, said = run(version, "--model", "a/b", "throughput", "--dataset", str(dataset))
        assert code == 0, said
        given = eval(said, {"PosixPath": str})
        assert (given["backend"], given["warmup"], given["concurrency"], given["tp"]) == ("pytorch", 2, -1, 1)
        assert (given["num_requests"], given["kv_cache_free_gpu_mem_fraction"], given["eos_id"]) == (0, 0.9, -1)
        assert given["enable_chunked_context"] == (version != "1.0.0")
