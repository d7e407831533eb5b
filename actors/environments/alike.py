"""What two arms show an engine, found out by asking each: its variables as they are after the entry point,
and the libcuda it loads.

Options and tables say what ought to be equal; an entry point, a hook or a read-only root can make it unequal. Before
the first run each arm is asked once, through the image's entry point, and what differs without being asked for is a
reason not to compare them.
"""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from actors.environments import Arm, EnvironmentError_, OptionRefused
from actors.environments.ownership import MARK
from actors.environments.registry import kind
from actors.environments.resolve import Row
from actors.types import Environment, ImageIdentity, Launch, Mount

ANSWER = "/campaign/output"
ASKED_S = 300.0
ALLOWED = frozenset(
    {
        "HOSTNAME", "HOME", "PWD", "OLDPWD", "SHLVL", "_", "container", MARK,
        "TERM",  # Podman says xterm in every container, and has no way to say nothing
        # What the toolkit says to itself, and how a chroot on a host of several GPUs gets the one that a container has
        # alone (gpus.py).
        "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_CTK_LIBCUDA_DIR", "CUDA_VISIBLE_DEVICES",
            "CUDA_DEVICE_ORDER",
    }
)  # fmt: skip
"""Variables that may differ between a container and a chroot."""
TELL_VARIABLES = (
    ("dd", "if=/proc/self/environ", f"of={ANSWER}/answer"),
    ("cp", "/proc/self/environ", f"{ANSWER}/answer"),
    ("python3", "-I", "-S", "-c", f"open('{ANSWER}/answer', 'wb').write(open('/proc/self/environ', 'rb').read())"),
)
"""Programs that copy what the kernel knows of their own environment, of which an image has at least one. A file, not
the standard output: entry points write banners there."""
LOAD = f"""
import ctypes, hashlib, json
answer = {{}}
try:
    library = ctypes.CDLL("libcuda.so.1")
    lines = [line.split(maxsplit=5) for line in open("/proc/self/maps")]
    path = next(line[5].strip() for line in lines if len(line) > 5 and "libcuda" in line[5].rpartition("/")[2])
    answer = {{"path": path, "sha256": hashlib.sha256(open(path, "rb").read()).hexdigest()}}
    version = ctypes.c_int()
    if hasattr(library, "cuDriverGetVersion") and library.cuDriverGetVersion(ctypes.byref(version)) == 0:
        answer["cuda"] = version.value
except Exception as error:
    answer["why"] = str(error)
open("{ANSWER}/answer", "w").write(json.dumps(answer))
"""


@dataclass(frozen=True)
class Libcuda:
    """The driver library that a program gets by the name ``libcuda.so.1``."""

    path: str | None = None
    """As seen inside; None where it is not found, for the reason in ``why``."""
    sha256: str = ""
    cuda: str = ""
    """Newest CUDA version that it serves (``13.0``), as it says itself; empty where it does not."""
    why: str = ""

    def __str__(self) -> str:
        if self.path is None:
            return f"none ({self.why})"
        return f"{self.path} ({f'CUDA {self.cuda}, ' if self.cuda else ''}sha256 {self.sha256[:12]})"


def variables(arm: Arm, image: ImageIdentity | None, launch: Launch | None = None) -> dict[str, str]:
    """The environment that an engine started with ``launch`` would see in ``arm``. Raises EnvironmentError_."""
    text = _ask(arm, image, TELL_VARIABLES, launch or Launch(argv=()))
    pairs = (item.partition("=") for item in text.split("\0") if "=" in item)
    return {name: value for name, _, value in pairs}


def loaded_libcuda(arm: Arm, image: ImageIdentity | None, launch: Launch | None = None) -> Libcuda:
    """Raises EnvironmentError_ where the image has no ``python3`` to ask with."""
    told = json.loads(_ask(arm, image, (("python3", "-c", LOAD),), launch or Launch(argv=())))
    cuda = told.pop("cuda", 0)
    return Libcuda(**told, cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "")


def arms_alike(
    arms: Sequence[Arm], images: Mapping[str, ImageIdentity | None], launch: Launch | None = None
) -> list[str]:
    """What differs between arms that run the same files without having been asked for, a line each with what to do;
    empty where they are alike. ``images`` by the arm's name; ``launch`` gives the engine's variables. Arms of the
    host's own userland are left out."""
    by_userland: dict[str, list[Arm]] = {}
    for arm in arms:
        image = images[arm.spec.name]
        if image is not None and kind(arm.spec.kind).needs_image:
            by_userland.setdefault(image.userland, []).append(arm)
    return [line for sharing in by_userland.values() for line in _alike(sharing, images, launch)]


def _alike(asked: Sequence[Arm], images: Mapping[str, ImageIdentity | None], launch: Launch | None) -> list[str]:
    if len(asked) < 2:
        return []
    seen = {arm.spec.name: variables(arm, images[arm.spec.name], launch) for arm in asked}
    found = []
    for a, b in combinations(asked, 2):
        names = _meant(a.spec) | _meant(b.spec)
        for name, left, right in _differences(seen[a.spec.name], seen[b.spec.name], names):
            found.append(
                f"the variable {name} is {left} in {a.spec.name} and {right} in {b.spec.name}: what the image's "
                "entry point sets there depends on the arm. Name it under variables in the "
                "engine's or both arms' entries."
            )
    return found + list(_libcudas([arm for arm in asked if arm.spec.gpu.by != "none"], images, launch))


def _libcudas(arms: Sequence[Arm], images: Mapping[str, ImageIdentity | None], launch: Launch | None) -> Iterator[str]:
    if len(arms) < 2:
        return
    try:
        loaded = {arm.spec.name: loaded_libcuda(arm, images[arm.spec.name], launch) for arm in arms}
    except EnvironmentError_ as error:
        yield f"which libcuda the arms load cannot be asked: {error}"
        return
    for (a, left), (b, right) in combinations(loaded.items(), 2):
        if left.sha256 != right.sha256:
            yield (
                f"{a} loads libcuda {left}, {b} {right}: two drivers would be compared. The image brings its own for "
                "forward compatibility, or the NVIDIA toolkit puts the host's elsewhere. Name an image for the CUDA "
                "version of the host's driver, or update the driver to that of the image (a DGX Spark has no forward "
                "compatibility); `disable-cuda-compat-lib-hook = true` among the features in "
                "/etc/nvidia-container-runtime/config.toml switches the toolkit's part off."
            )


def difference(a: Arm, b: Arm, image: ImageIdentity | None, other: ImageIdentity | None = None) -> list[Row]:
    """Rows (aspect, in a, in b) of what differs as it is seen inside, also where that was asked for. ``image`` is of
    ``a``, and of ``b`` too unless that has an ``other`` one."""
    other = other or image
    seen = _differences(variables(a, image), variables(b, other), ())
    rows: list[Row] = [(f"variable {name}", left, right) for name, left, right in seen]
    if "none" not in (a.spec.gpu.by, b.spec.gpu.by):
        mine, theirs = loaded_libcuda(a, image), loaded_libcuda(b, other)
        if mine.sha256 != theirs.sha256:
            rows.append(("libcuda", str(mine), str(theirs)))
    return rows


def _meant(spec: Environment) -> set[str]:
    """Variables that the arm itself sets: a treatment, not an accident."""
    return {*spec.variables, *spec.gpu.variables}


def _differences(a: dict[str, str], b: dict[str, str], names: Iterable[str]) -> list[Row]:
    without = ALLOWED | set(names)
    return [
        (name, _said(a.get(name)), _said(b.get(name)))
        for name in sorted({*a, *b} - without)
        if a.get(name) != b.get(name)
    ]


def _said(value: str | None) -> str:
    return "not set" if value is None else repr(value)


def _ask(arm: Arm, image: ImageIdentity | None, programs: Sequence[tuple[str, ...]], launch: Launch) -> str:
    """What the first of ``programs`` that the image has writes to its answer. Raises EnvironmentError_."""
    labels = {"campaign": "alike", "run": arm.spec.name, "attempt": "0"}
    whys = []
    for program in programs:
        with tempfile.TemporaryDirectory(prefix="campaign-alike-") as folder:
            answer = Path(folder, "answer")
            answer.mkdir()
            answer.chmod(0o777)  # the arm may be of another user
            mount = Mount(source=str(answer), target=ANSWER, read_only=False)
            question = Launch(argv=program, variables=launch.variables, mounts=(mount,))
            try:
                process = arm.create(question, labels, Path(folder), image)
            except OptionRefused as error:
                if error.option != "argv":
                    raise
                whys.append(error.why)
                continue
            try:
                process.start()
                ended = process.wait(ASKED_S)
            except EnvironmentError_ as error:
                whys.append(str(error))
                continue
            finally:
                process.close()
            told = answer / "answer"
            if ended is not None and ended.code == 0 and told.is_file():
                return told.read_text(errors="surrogateescape")
            said = Path(folder, "stderr.log")
            words = said.read_text(errors="replace").strip()[-200:] if said.exists() else ""
            code = "does not end" if ended is None else f"ends with {ended.code}"
            whys.append(f"`{shlex.join(program)[:60]}` {code}: {words}")
    raise EnvironmentError_(f"{arm.spec.name}: no program of the image answers ({'; '.join(whys)})")
