"""Whatever stands in the place of an argument, every verb answers in words, with the exit code of the cause,
and changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from campaign import cli
from campaign.errors import EXIT_CONFIG, EXIT_REFUSED
from tests import synthetic

PROJECT = Path(__file__).parents[2]
TABLE = "model,environment,repetition,token_throughput_tok_s\n" + "".join(
    f"m,{arm},{i},{100 + i}.5\n" for i in range(1, 5) for arm in ("native", "docker")
)
PLACES = ("missing", "folder", "empty", "binary", "huge", "pipe", "loop", "x" * 300, "two\nlines")
WORDS = ("", "nope", "x" * 3000, "\x1b[31m", "../../y", "nan", "é\u202e", "a;b", "'")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "binary").write_bytes(bytes(range(256)) * 16)
    with (folder / "huge").open("wb") as file:
        file.truncate(5 * 2**30)
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "runs.csv").write_text(TABLE)
    synthetic.write(folder / "results" / "demo", repetitions=1)
    return folder


def files(place: Path) -> set[tuple[Path, int]]:
    """All but locks, each with its time."""
    return {
        (path, path.lstat().st_mtime_ns)
        for path in place.rglob("*")
        if not path.is_dir() and path.name != ".driver.lock"
    }


def answer(place: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> tuple[int, str]:
    """Exit code and output, in ``place``; nothing in it may have changed."""
    monkeypatch.chdir(place)
    before = files(place)
    done = CliRunner().invoke(cli.app, words, input="")
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert "Traceback" not in done.output
    assert files(place) == before, words
    return done.exit_code, done.output


CONFIG, RESULTS, INPUT = (EXIT_CONFIG, EXIT_REFUSED, EXIT_CONFIG)
"""A wrong campaign file and a wrong table are wrong arguments; a wrong results folder does not allow what is asked."""
PLACED = [
    *((CONFIG, f"{verb} @") for verb in ("run", "shakedown", "plan", "doctor", "prepare", "register",
    "service install")),
    (CONFIG, "diff native-chroot docker-baseline --config @"),
    (CONFIG, "show x --config @"),
    *((RESULTS, f"{verb} @") for verb in ("status", "retry", "verify", "report", "power", "show x")),
    (RESULTS, "export @ out.zip"),
    (RESULTS, "status --results @"),
    *((INPUT, verb) for verb in ("import @", "analyze @ --dry-run", "analyze runs.csv --json out.json --requests @")),
    *((INPUT, f"parse {engine} @") for engine in ("trtllm", "vllm", "llamacpp")),
]  # fmt: skip


@pytest.mark.parametrize("wrong", PLACES, ids=[name[:8] for name in PLACES])
@pytest.mark.parametrize(("code", "shape"), PLACED, ids=str)
def test_a_wrong_path_ends_in_words_with_the_code_of_its_cause(place, monkeypatch, code, shape, wrong):
    found, said = answer(place, monkeypatch, [word.replace("@", wrong) for word in shape.split()])
    if shape == "status --results @" and wrong in ("empty", "binary", "huge", "pipe"):
        code = EXIT_CONFIG  # a file is no folder at all
    assert found == code, said
    assert said.strip()


@pytest.mark.parametrize(
    ("code", "shape"),
    [
        (EXIT_CONFIG, "diff @ docker-baseline"),
        (EXIT_REFUSED, "show @"),
        (EXIT_REFUSED, "retry --run @"),
        (EXIT_CONFIG, "sql @"),
        (EXIT_CONFIG, "sql results/demo @ -f csv"),
        (EXIT_CONFIG, "sql results/demo SELECT(1) -f @"),
        (EXIT_CONFIG, "plan --units @"),
        (EXIT_CONFIG, "power --cv-pct @"),
        (EXIT_CONFIG, "power --margin-pct @"),
        (EXIT_CONFIG, "report --print --width @"),
        (EXIT_CONFIG, "service @"),
        (EXIT_CONFIG, "parse @ runs.csv"),
        (EXIT_CONFIG, "import runs.csv --gpu @"),
        (EXIT_CONFIG, "import runs.csv --reference @"),
        (EXIT_CONFIG, "import runs.csv --unit @"),
        (EXIT_CONFIG, "import runs.csv --decimal @"),
        (EXIT_CONFIG, "analyze runs.csv --json out.json --reference @"),
    ],
    ids=str,
)
@pytest.mark.parametrize("wrong", WORDS, ids=[ascii(word)[:8] for word in WORDS])
def test_a_wrong_word_ends_in_words_with_the_code_of_its_cause(place, monkeypatch, code, shape, wrong):
    found, said = answer(place, monkeypatch, [word.replace("@", wrong) for word in shape.split()])
    assert found == code, said
    assert said.strip()


@pytest.mark.parametrize("target", ["folder", "pipe", "loop"])
def test_a_file_that_is_put_in_place_takes_no_place_of_a_device_or_a_link(place, monkeypatch, target):
    for shape in (["analyze", "runs.csv", "--json", target], ["register", "-o", target]):
        code, said = answer(place, monkeypatch, shape)
        assert code == EXIT_CONFIG and "no regular file" in " ".join(said.split())


def test_margins_and_widths_are_real_sizes(place, monkeypatch):
    for words in (["power", "--margin-pct", "0"], ["power", "--cv-pct", "inf"], ["report", "--width", "-3"]):
        assert answer(place, monkeypatch, words)[0] == EXIT_CONFIG


def test_a_file_that_cannot_be_read_ends_in_words(place, monkeypatch):
    for words in (["plan", "@"], ["import", "@"], ["analyze", "@", "--dry-run"], ["parse", "vllm", "@"]):
        code, said = answer(
            place, monkeypatch, [word.replace("@", "/proc/self/mem") for word in words]
        )  # opened, and then an error
        assert code == EXIT_CONFIG and "/proc/self/mem" in said, said


@pytest.mark.parametrize("closed", ["<&-", "<&- >&- 2>&-"])
def test_closed_input_and_output_end_without_a_traceback(closed):
    done = subprocess.run(
        f"{sys.executable} -m campaign plan configs/campaigns/local.yaml {closed}", shell=True, cwd=PROJECT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 0, done


def test_an_interrupt_that_python_cannot_let_out_prints_no_stack():
    program = (
        "from campaign.cli.words import silence_lost_interrupts\nsilence_lost_interrupts()\n"
        "class Gone:\n    def __init__(self, problem): self.problem = problem\n"
        "    def __del__(self): raise self.problem\nGone(KeyboardInterrupt()); Gone(ValueError('told'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert "KeyboardInterrupt" not in done.stderr and "ValueError: told" in done.stderr


@pytest.mark.parametrize(
    "shape",
    [
        "--help", "run --help", "--version", "schema", "plan local.yaml",
        "plan local.yaml --units 2", "power --cv-pct 1",
        "status results/demo", "status results/demo --json",
        "verify results/demo", "retry results/demo", "sql results/demo FROM(runs)",
        "sql results/demo FROM(runs) -f csv", "sql results/demo FROM(runs) -f json",
        "sql results/demo FROM(runs) -f parquet",
        "import runs.csv --dry-run", "analyze runs.csv --dry-run",
    ],
)  # fmt: skip
def test_a_reader_that_is_gone_is_no_error_of_any_verb(place, monkeypatch, capfd, shape):
    """Standard output is a pipe that nobody reads; what is left in its buffer is written at the end."""
    monkeypatch.chdir(place)
    (place / "local.yaml").write_text(
        (PROJECT / "configs/campaigns/local.yaml").read_text() + f"library: {PROJECT / 'configs'}\n"
    )
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        with pytest.raises(SystemExit) as ended:
            cli.app(shape.split(), prog_name="campaign")
        pipe.flush()
    assert (ended.value.code, capfd.readouterr().err) == (0, "")
