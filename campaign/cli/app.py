"""What every verb shares: the app, the two consoles, the arguments that mean the same everywhere, and errors in words.

Heavy modules are imported where they are needed.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from actors import host
from campaign.cli import completion
from campaign.cli.words import in_words, seen_enough

ROOT = host.ROOT

PANELS = ("Before", "Carry out", "Meanwhile", "Results", "Results of others")
"""The groups of verbs as ``--help`` shows them."""
EPILOG = (
    "Exit codes: 0 done · 1 runs are missing or something is wrong · 2 bad config or argument · 3 this host or these "
    "results do not allow it · 4 no Docker engine · 5 paused by the gate or a fault of the unit · 70 a defect of the "
    "program · 130 interrupted (the same command goes on)."
)


class Verbs(typer.core.TyperGroup):
    """The one place where an error of ours becomes words and an exit code, whatever the verb."""

    def invoke(self, ctx: Any) -> Any:
        with in_words(err):
            done = super().invoke(ctx)
            if sys.stdout is not None:  # closed by who started this
                sys.stdout.flush()  # or the interpreter would find out at its end that nobody reads any more
            return done

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            return super().main(*args, **options)
        except SystemExit as ended:  # Typer prints --help by a console of its own, which calls that an error
            if not isinstance(ended.__context__, BrokenPipeError):
                raise
            seen_enough()
            raise SystemExit(0) from None

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=lambda name: PANELS.index(getattr(self.commands[name], "rich_help_panel", "")))


class Output(Console):
    """What is printed may come out of a stranger's results: nothing in it is markup, or a command to the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        from campaign.record import untrusted

        return super().render_str(untrusted.plain(text), **options)

    def on_broken_pipe(self) -> None:
        """Rich would exit with code 1 when the reader (head, less) has seen enough."""
        seen_enough()
        raise SystemExit(0)


app = typer.Typer(
    cls=Verbs,
    name="campaign",
    help="Does Docker cost LLM inference anything? Runs native and Docker benchmarks alternately, thermally gated, "
    "and keeps the evidence.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Output(highlight=False, markup=False)
err = Output(stderr=True, highlight=False, markup=False)


def finite(value: float | list[float] | None) -> Any:
    """Callback of options that are numbers: neither NaN nor infinity is one."""
    if any(not math.isfinite(it) for it in (value if isinstance(value, list) else [value]) if it is not None):
        raise typer.BadParameter("must be a finite number")
    return value


def new_file(path: Path | None) -> Path | None:
    """Callback of options that name a file to be put in place whole: that would take the place of a device,
    a pipe or a link as well."""
    if path is not None and (path.is_symlink() or (path.exists() and not path.is_file())):
        raise typer.BadParameter(f"{path} is no regular file, and would be replaced by one. Name a new file.")
    return path


def _version(asked: bool) -> None:
    if asked:
        from campaign.record import provenance

        out.print(provenance.version(), soft_wrap=True)
        raise typer.Exit


@app.callback()
def whole(
    version: Annotated[
        bool, typer.Option("--version", help="Version, commit and Python, and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _a_folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise typer.BadParameter(f"{path} is no folder")
    return path


ResultsRoot = Annotated[
    Path, typer.Option("--results", help="Folder that holds the results of all campaigns.", callback=_a_folder)
]
Folder = Annotated[
    Path | None,
    typer.Argument(
        help="A campaign's results folder; default: the one changed last.",
        show_default=False,
        autocompletion=completion.folders,
    ),
]
Config = Annotated[
    Path | None,
    typer.Argument(
        help="Campaign file; default: the one for this machine.",
        show_default=False,
        autocompletion=completion.configs,
    ),
]


Phase = Annotated[
    str | None, typer.Option("--phase", help="One phase of a study's file, such as 2B.", show_default=False)
]


def latest(folder: Path | None, root: Path = Path("results"), *, imported: bool = True, studies: bool = False) -> Path:
    """``folder``, or the results folder below ``root`` that changed last, which it names; without ``imported`` the last
    that was carried out here. A study's folder where ``studies``, else one of its phases. Raises StoreError."""
    from campaign.record.durable import StoreError

    if folder is not None:
        if not folder.exists():
            raise StoreError(f"{folder}: does not exist. {_campaigns(folder.parent if folder.name else root)}")
        if not folder.is_dir():
            raise StoreError(f"{folder}: is a file. Name a campaign's results folder, such as {root}/NAME.")
        if (folder / "study.json").exists():
            if studies:
                return folder
            raise StoreError(f"{folder}: a study. Name the results folder of one of its phases. {_campaigns(folder)}")
        if not (folder / "campaign.json").exists():
            raise StoreError(f"{folder}: no campaign here (no campaign.json). {_campaigns(folder)}")
        return folder
    changed = {
        place.parent: max(_changed_ns(place), _changed_ns(place.parent / "journal.jsonl"))
        for place in (*root.glob("*/campaign.json"), *_of_phases(root))
        if imported or (place.parent / "journal.jsonl").exists()
    }
    if studies:
        began = {place.parent: _changed_ns(place) for place in root.glob("*/study.jsonl")}
        changed = {of_study(place): at for place, at in sorted((began | changed).items(), key=lambda item: item[1])}
    if not changed:
        raise StoreError(f"{root}: no results yet. Start a campaign with `campaign run` or `make campaign`.")
    found = max(changed, key=lambda place: changed[place])
    kind = "" if (found / "journal.jsonl").exists() or (found / "study.jsonl").exists() else " (imported runs)"
    err.print(f"{found}{kind}: the results that changed last", style="dim", soft_wrap=True)
    return found


def _of_phases(root: Path) -> list[Path]:
    """``campaign.json`` of every phase of every study below ``root``."""
    return [path for study in root.glob("*/study.json") for path in study.parent.glob("*/campaign.json")]


def of_study(place: Path) -> Path:
    """The study that a phase's results folder lies in; any other folder itself."""
    return place.parent if (place.parent / "study.json").exists() else place


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _campaigns(folder: Path) -> str:
    """The campaigns in a folder, in words."""
    found = sorted(place.parent for place in folder.glob("*/campaign.json"))
    named = ", ".join(map(str, found[:5])) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    return f"There are {named}." if found else "Name a campaign's results folder, such as results/NAME."


def chosen(config: Path | None, phase: str | None = None) -> tuple[Any, Any]:
    """The ``Choice`` of campaign file, which it prints, and the campaign in it; of a study that of a phase, else of the
    first. Raises ConfigError."""
    from campaign.config.default import choose
    from campaign.study.loading import campaign_in

    choice = choose(str(config) if config else None)
    out.print(str(choice), soft_wrap=True, markup=False)
    return choice, campaign_in(choice.config, phase)
