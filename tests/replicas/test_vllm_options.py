"""The replica's vllm takes what the real 0.22.1 listed, and what an older one knew."""

from __future__ import annotations

import re

import pytest

from replicas.programs import vllm_options
from replicas.programs.vllm_options import parser

NEW, OLD = "0.22.1", "0.11.0"
COMMANDS = ("bench_throughput", "bench_serve", "serve")


def said(capsys: pytest.CaptureFixture[str], command: str, version: str, *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        parser(command, version).parse_args(words)
    out = capsys.readouterr()
    return int(ended.value.code or 0), out.out + out.err


@pytest.mark.parametrize("command", COMMANDS)
def test_plain_help_names_groups_and_no_option(command, capsys):
    code, text = said(capsys, command, NEW, "--help")
    assert code == 0
    assert set(re.findall(r"--[a-z][\w-]*", text)) == {"--help"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_all_lists_what_the_real_one_listed(command, capsys):
    code, text = said(capsys, command, NEW, "--help=all")
    assert code == 0
    # A name may be wrapped at a dash, by the real program's help too.
    joined = set(re.findall(r"--[a-z][\w-]*", re.sub(r"-\n\s+", "-", text)))
    assert set(vllm_options.LISTED[command]) <= joined | {"--help"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_old_one_lists_its_options_at_once_and_knows_no_all(command, capsys):
    code, text = said(capsys, command, OLD, "--help")
    assert code == 0
    assert "--model" in text
    code, text = said(capsys, command, OLD, "--help=all")
    assert code == 2


def test_the_length_of_random_prompts_has_a_default_that_input_len_does_not_move():
    given = parser("bench_throughput", NEW).parse_args(["--input-len", "128"])
    assert (given.random_input_len, given.random_output_len) == (1024, 128)
    assert not hasattr(parser("bench_throughput", OLD).parse_args([]), "random_input_len")


def test_an_unknown_option_and_an_abbreviation_are_refused(capsys):
    for words in (["--output-jso", "x"], ["--num-warmup", "1"]):
        code, text = said(capsys, "bench_throughput", NEW, *words)
        assert code == 2
        assert "unrecognized arguments" in text


def test_underscores_stand_for_dashes_and_switches_have_their_opposite():
    given = parser("serve", NEW).parse_args(["model", "--max_model_len", "256", "--no-enable-prefix-caching"])
    assert (given.model_tag, given.max_model_len, given.enable_prefix_caching) == ("model", 256, False)
