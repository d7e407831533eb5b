"""The command line as people and scripts have it: help, exit codes, plain output, completion."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from campaign import cli, errors
from campaign.analysis.statistics.table import TableError
from campaign.analysis.views import ResultsError
from campaign.cli import err
from campaign.cli.words import in_words
from tests.campaign.bad_configs import CASES, write

PROJECT = Path(__file__).parents[2]
VERBS = sorted(command.name or command.callback.__name__ for command in cli.app.registered_commands)


def call(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """`campaign WORDS` as a process of its own, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "campaign", *map(str, words)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_every_verb_and_the_exit_codes():
    text = " ".join(CliRunner().invoke(cli.app, ["--help"]).output.split())
    assert all(f" {verb} " in text for verb in VERBS)
    for code in (
        errors.EXIT_CONFIG,
        errors.EXIT_REFUSED,
        errors.EXIT_ENGINE,
        errors.EXIT_PAUSED,
        errors.EXIT_INTERRUPTED,
    ):
        assert re.search(rf"\b{code} [a-z]", text), code


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str):
    done = CliRunner().invoke(cli.app, [verb, "--help"])
    assert done.exit_code == 0
    assert re.search(rf"Examples?:.*campaign {verb}", done.output, re.DOTALL)


def test_without_words_it_shows_its_help():
    assert "Usage" in CliRunner().invoke(cli.app, []).output


def test_an_unknown_verb_is_a_bad_argument():
    done = call("rum")
    assert done.returncode == errors.EXIT_CONFIG
    assert "No such command 'rum'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_config_is_exit_2_and_leaves_nothing(tmp_path: Path):
    config = write(next(case for case in CASES if case.name == "negative cooldown"), tmp_path)
    done = call("run", config, "--results", tmp_path / "results")
    assert done.returncode == errors.EXIT_CONFIG
    assert "gate.cooldown_s: must be at least 0" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "results").exists()


def test_no_docker_engine_is_exit_4_and_says_what_to_do(tmp_path: Path):
    library = PROJECT / "configs"
    config = tmp_path / "c.yaml"
    config.write_text(
        "name: c\nengine: llamacpp\nseed: 1\nmodels: [random-llama-8m]\nenvironments: [native-chroot, "
        "docker-baseline]\n"
        "without: [gpu, ulimits.memlock]\nworkloads:\n  - {name: t, requests: 1, input_tokens: 8, output_tokens: 8}\n"
        f"repetitions: 1\nlibrary: {library}\n"
    )
    done = call("run", config, "--results", tmp_path / "r", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert done.returncode == errors.EXIT_ENGINE
    assert "none.sock" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_results_yet_is_exit_3_and_says_how_to_begin(tmp_path: Path):
    for verb in ("status", "verify", "report"):
        done = CliRunner().invoke(cli.app, [verb, "--results", str(tmp_path)])
        assert done.exit_code == errors.EXIT_REFUSED
        assert "Start a campaign with `campaign run`" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TableError("no column `value`"), errors.EXIT_CONFIG),
        (ResultsError("x holds no campaign"), errors.EXIT_REFUSED),
        (PermissionError(13, "Permission denied", "results"), errors.EXIT_REFUSED),
        (OSError(28, "No space left on device", "results/a"), errors.EXIT_REFUSED),
    ],
)
def test_errors_for_the_person_have_a_message_and_a_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(typer.Exit) as end, in_words(err):
        raise error
    assert end.value.exit_code == code
    said = capsys.readouterr().err
    assert said.startswith("campaign: ")
    assert ("make space" in said) == ("No space left" in str(error))


def test_a_defect_of_ours_says_so_and_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(typer.Exit) as end, in_words(err):
        raise ZeroDivisionError
    assert end.value.exit_code == errors.EXIT_DEFECT
    said = capsys.readouterr().err
    (kept,) = tmp_path.iterdir()
    assert "a defect of the program" in said and str(kept) in said
    assert "Traceback" in kept.read_text()


def test_who_asks_for_a_traceback_gets_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CAMPAIGN_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError), in_words(err):
        raise ZeroDivisionError


def test_without_a_terminal_nothing_is_coloured():
    assert "\x1b" not in call("plan", "configs/campaigns/local.yaml").stdout


def test_no_color_is_honoured_on_a_terminal():
    program = f"{sys.executable} -m campaign plan configs/campaigns/local.yaml"
    done = subprocess.run(
        ["script", "-qec", program, "/dev/null"],
        cwd=PROJECT,
        env={**os.environ, "NO_COLOR": "1", "TERM": "xterm-256color", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "local" in done.stdout
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", done.stdout)


def test_a_reader_that_has_seen_enough_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m campaign plan configs/campaigns/local.yaml | head -1; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1] == "0"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_completion_script(shell: str):
    done = CliRunner().invoke(cli.app, [], env={"_CAMPAIGN_COMPLETE": f"source_{shell}"}, prog_name="campaign")
    assert "_CAMPAIGN_COMPLETE" in done.output
    assert "campaign" in done.output


def test_names_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "results" / "local"
    (folder / "attempts" / "small__docker__chat__r01").mkdir(parents=True)
    (folder / "campaign.json").write_text("{}")
    (folder / "journal.jsonl").touch()
    monkeypatch.chdir(tmp_path)

    def completed(*words: str) -> str:
        variables = {
            "_CAMPAIGN_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["campaign", *words]),
            "COMP_CWORD": str(len(words)),
        }
        return CliRunner().invoke(cli.app, [], env=variables, prog_name="campaign").output

    assert "verify" in completed("ver")
    assert "native-chroot" in completed("diff", "nat")
    assert "results/local" in completed("verify", "results/l")
    assert "small__docker__chat__r01" in completed("show", "sm")


def test_imported_runs_are_reported_queried_and_exported_and_what_needs_a_plan_says_so(tmp_path: Path):
    source = PROJECT / "examples" / "phase1" / "phase1_results.json"
    folder = tmp_path / "results" / "phase1"
    assert call("import", source, "--results", tmp_path / "results", "--name", "phase1").returncode == 0
    report = call("report", folder)
    assert report.returncode == 0, report.stderr
    assert "confounded" in report.stdout and "latency" not in report.stdout  # no latency is in that file
    assert (folder / "report" / "index.html").exists()
    assert "60" in call("sql", folder, "SELECT count(*) FROM runs").stdout
    assert call("export", folder, tmp_path / "phase1.zip").returncode == 0
    status = call("status", folder)
    assert status.returncode == errors.EXIT_REFUSED and "holds imported runs" in status.stderr


TABLE = "model,environment,repetition,token_throughput_tok_s,latency\n" + "".join(
    f"m,{arm},{i},{100 + i}.5,1.2\n" for i in range(1, 7) for arm in ("native", "docker")
)


@pytest.mark.parametrize("verb", ["import", "analyze"])
def test_a_dry_run_says_how_a_table_is_understood_and_writes_nothing(tmp_path: Path, verb: str):
    file = tmp_path / "runs.csv"
    file.write_text(TABLE)
    done = CliRunner().invoke(
        cli.app, [verb, str(file), "--dry-run", *(["--results", str(tmp_path)] if verb == "import" else [])]
    )
    assert done.exit_code == 0
    for words in (
        "12 rows in, 12 runs out",
        "token_throughput_tok_s: taken as token_throughput_tok_s, in tok/s",
        "row 2: model m",
        "row 4: ",
    ):
        assert words in done.output
    assert ("is it seconds or milliseconds?" in done.output) == (verb == "import")
    assert [path.name for path in tmp_path.iterdir()] == ["runs.csv"]


def test_analyze_is_told_the_baseline_and_the_margin_of_a_strangers_table(tmp_path: Path):
    arms = {"bare": 100.0, "shipped": 98.0, "first": 99.0, "second": 97.0}
    rows = [f"m,{arm},{block},{value + block % 3 / 10}" for block in range(1, 7) for arm, value in arms.items()]
    (tmp_path / "runs.csv").write_text("\n".join(["model,environment,repetition,token_throughput_tok_s", *rows]))
    words = ["analyze", str(tmp_path / "runs.csv"), "--reference", "bare"]
    answer = tmp_path / "answer.json"
    done = CliRunner().invoke(cli.app, [*words, "--baseline", "shipped", "--margin-pct", "3", "--json", str(answer)])
    assert done.exit_code == 0, done.output
    found = json.loads(answer.read_text())
    asked = {(c["treatment"], c["reference"]) for c in found["comparisons"]}
    assert asked == {("shipped", "bare"), ("first", "shipped"), ("second", "shipped")}
    assert found["settings"]["margin_pct"] == {"token_throughput_tok_s": 3.0}
    assert found["settings"]["margin_not_declared"] == []
    wrong = CliRunner().invoke(cli.app, [*words, "--baseline", "shiped", "--json", str(tmp_path / "no.json")])
    assert wrong.exit_code == 2 and "no arm of the table" in wrong.output and not (tmp_path / "no.json").exists()


def test_analyze_answers_what_the_table_does_not_say_and_asks_for_a_place_for_its_answer(tmp_path: Path):
    file, answer = tmp_path / "runs.csv", tmp_path / "out.json"
    file.write_text(TABLE.replace("environment", "variant"))
    done = CliRunner().invoke(
        cli.app, ["analyze", str(file), "--json", str(answer), "--column", "variant=environment", "--unit", "latency=s"]
    )
    assert done.exit_code == 0
    fates = {fate["column"]: fate for fate in json.loads(answer.read_text())["reading"]["columns"]}
    assert (fates["variant"]["name"], fates["latency"]["unit"]) == ("environment", "s")
    assert (
        CliRunner().invoke(cli.app, ["analyze", str(file), "--column", "variant=environment"]).exit_code
        == errors.EXIT_CONFIG
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--column", "modle=model"], "no column 'modle'. Did you mean 'model'?"),
        (["--set", "environment=native"], "the table says it itself"),
        (["--unit", "latency=parsec"], "not a unit"),
        (["--decimal", "dot"], "point or comma"),
        (["--reference", "nativ"], "Did you mean 'native'?"),
        (["--name", "../x"], "--name"),
    ],
)
def test_a_mistake_about_a_table_is_told_in_words(tmp_path: Path, words: list[str], says: str):
    (tmp_path / "runs.csv").write_text(TABLE)
    done = call("import", tmp_path / "runs.csv", "--results", tmp_path / "results", *words)
    assert done.returncode == errors.EXIT_CONFIG
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()
