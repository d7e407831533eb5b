"""What README and docs show works as it stands there.

Campaign files are planned and SQL is answered (``tests/campaign/analysis``). A console line runs where it needs neither
a Spark, root, Docker nor a network; those that do begin with one of :data:`ELSEWHERE`, and their number is fixed.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from campaign import cli
from campaign.config import loading

PROJECT = Path(__file__).parents[1]
PAGES = sorted([PROJECT / "README.md", *(PROJECT / "docs").glob("*.md"), *(PROJECT / "examples").glob("*/README.md")])
ELSEWHERE = (
    "make ", "sudo ", ".venv/bin/hf ", ".campaign/uv/", "umask ", "export ", "ray ", "git ", "campaign run ",
    "campaign rehearse ",
    "campaign doctor CONFIG --address ", "campaign prepare CONFIG --address ", "campaign verify ",
    ".venv/bin/campaign doctor ", ".venv/bin/campaign sql", ".venv/bin/campaign verify", ".venv/bin/campaign export ",
)  # fmt: skip
"""Beginnings of commands that take a machine, a network, minutes, or a campaign that has been carried out."""


def blocks(kind: str) -> list[tuple[str, str]]:
    """(page, block) of that kind, in order."""
    return [
        (page.name, block)
        for page in PAGES
        for block in re.findall(rf"```{kind}\n(.*?)```", page.read_text(), re.DOTALL)
    ]


def commands() -> list[str]:
    """What a reader would paste: lines behind a prompt, all lines of a script."""
    typed = [line[2:] for _, block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    typed += [line for _, block in blocks("sh") for line in block.splitlines()]
    return [re.sub(r"\s+#.*$", "", line).strip() for line in typed]


def test_a_campaign_file_plans_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(PROJECT)
    whole = [(page, block) for page, block in blocks("yaml") if "repetitions:" in block and block.startswith("name:")]
    assert len(whole) >= 1
    for number, (_, block) in enumerate(whole):
        (tmp_path / f"{number}.yaml").write_text(f"{block}library: {PROJECT / 'configs'}\n")
        assert loading.load(tmp_path / f"{number}.yaml").repetitions
        planned = CliRunner().invoke(cli.app, ["plan", str(tmp_path / f"{number}.yaml")])
        assert planned.exit_code == 0, planned.output


HERE = [line for line in commands() if not f"{line} ".startswith(ELSEWHERE)]


def test_only_what_cannot_run_here_is_left_out():
    assert len(commands()) - len(HERE) == 28
    assert len(HERE) == 4


@pytest.mark.parametrize("line", HERE)
def test_a_command_runs_as_it_stands(line, tmp_path, monkeypatch):
    program, *words = shlex.split(line)
    assert program in ("campaign", ".venv/bin/campaign")
    monkeypatch.chdir(PROJECT)
    if words[0] == "import" and "--dry-run" not in words:
        words += ["--results", str(tmp_path)]
    if words[-1] in ("my.yaml", "runs.csv") or "runs.csv" in words:  # the reader's own file
        (tmp_path / "my.yaml").write_text("name: x\nengine: llamacpp\n\n\n\n\n\n\ngate: {cooldown_s: -5}\n")
        (tmp_path / "runs.csv").write_text(
            "model,environment,repetition,token_throughput_tok_s\n"
            + "".join(f"m,{arm},{i},{100 + i}\n" for i in (1, 2, 3) for arm in ("native", "docker"))
        )
        monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, words)
    assert "Traceback" not in done.output and done.exit_code == (2 if "my.yaml" in words else 0), done.output
    if "my.yaml" in words:
        assert "my.yaml:9: gate.cooldown_s: must be at least 0, got -5." in done.output
