"""Takes the pictures of the README anew, by the headless Chromium that the tests use.

python docs/pictures.py report results/local      (docs/pictures/report.png, of a campaign that is finished)
python docs/pictures.py live results/mine         (docs/pictures/live.png, while that campaign runs in another terminal)
python docs/pictures.py gpu                       (docs/pictures/gpu-report.png, of examples/h100-vllm; needs zstd)
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PICTURES = PROJECT / "docs" / "pictures"
sys.path.insert(0, str(PROJECT))

from tests.browser import Browser  # noqa: E402  (the project may not be installed)

WIDTH, HEIGHT = 1180, 1240
"""Of a picture of a page, pixels: as much as a README should show."""


def report(folder: Path, name: str = "report") -> None:
    """The first screen of the page of a results folder, written by today's code."""
    from campaign.report import page

    written = page.write(folder)
    with Browser() as tab:
        tab.look(WIDTH, height=HEIGHT)
        tab.open(written)
        tab.picture(PICTURES / f"{name}.png", whole=False, height=HEIGHT)


def gpu() -> None:
    """The same of the campaign on an H100 that comes with the project."""
    with tempfile.TemporaryDirectory() as place:
        packed = PROJECT / "examples" / "h100-vllm" / "results.tar.zst"
        unpacked = subprocess.run(["zstd", "-dc", packed], check=True, capture_output=True).stdout
        subprocess.run(["tar", "x", "-C", place], input=unpacked, check=True)
        report(next(Path(place).glob("**/gpu-vllm-qwen/campaign.json")).parent, "gpu-report")


def live(folder: Path) -> None:
    """The display of a campaign that runs, as a terminal of 100 columns shows it."""
    from rich.console import Console

    from campaign.record.status import standing
    from campaign.run.display import panel

    snapshot, running = standing(folder)
    if not running:
        raise SystemExit(f"{folder}: no driver carries this out; start `make campaign` in another terminal")
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print("$ make campaign", markup=False)
    console.print(panel(snapshot))
    with tempfile.TemporaryDirectory() as place, Browser() as tab:
        drawing = Path(place) / "live.svg"
        console.save_svg(str(drawing), title="")
        page = Path(place) / "live.html"
        page.write_text(
            f'<style>body {{ margin: 0 }} img {{ width: 1180px; display: block }}</style><img src="{drawing.name}">'
        )
        tab.look(WIDTH)
        tab.open(page)
        tall = tab.js("document.querySelector('img').decode().then(() => document.querySelector('img').height)")
        tab.picture(PICTURES / "live.png", scale=1.4, height=round(tall))


def main(words: list[str]) -> int:
    match words:
        case ["report", folder]:
            report(Path(folder))
        case ["live", folder]:
            live(Path(folder))
        case ["gpu"]:
            gpu()
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
