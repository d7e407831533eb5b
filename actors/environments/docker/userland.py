"""A userland gathered from this machine: the interpreter, the packages an engine needs, the libraries they link.

What it holds is decided from paths and the dynamic linker's own answers (``ldd``), so the same rule serves interpreters
from a distribution, from pyenv and from uv, on x86-64 and aarch64. The interpreter is moved to ``/usr/local``,
wherever it lies here; libraries go beside the C library, where the loader looks without being told.

The content digest is over sources, libraries and links, not over compiled Python, which follows from them
and whose bytes need not repeat. Compiled files carry no time stamp (unchecked, PEP 552): an
interpreter that found them stale would compile anew in each container, but only once in a chroot, and the two arms
would differ.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from actors.environments import EnvironmentError_

RECIPE = 1
"""Raised when the rule changes, so that images of the old rule are not taken for new ones."""
PREFIX = "/usr/local"
LEFT_OUT = {
    "test", "tests", "idlelib", "ensurepip", "tkinter", "turtledemo", "lib2to3", "pydoc_data", "site-packages",
    "dist-packages", "__pycache__",
}  # fmt: skip
LEFT_OUT_FILES = re.compile(
    r"(_tkinter|_test|_xxtest|xxlimited|_ctypes_test|sitecustomize|usercustomize).*|.*\.(a|o|pyc)$"
)
TOOLS = ("sh", "env", "cat", "ls", "sleep", "true", "id", "nproc", "mkdir", "rm", "kill", "dd", "stat", "mount")
LOADED_LATER = ("libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2")
"""Opened by name at run time, which no ``ldd`` shows."""
FILES = {
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "/etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    "/etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files dns\n",
}
FOLDERS = {"/proc": 0o555, "/sys": 0o555, "/tmp": 0o1777, "/var/tmp": 0o1777, "/root": 0o700} | dict.fromkeys(
    ("/dev", "/run", "/campaign/output", "/campaign/engine", "/campaign/models", "/campaign/datasets"), 0o755
)
VARIABLES = {"PATH": f"{PREFIX}/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class Interpreter:
    """A Python to be put in an image. Paths are those of this machine."""

    executable: str
    version: str
    stdlib: str
    library: str
    """Where the standard library goes below a prefix: ``lib/python3.12``, on some distributions ``lib64/…``."""
    cache_tag: str


@dataclass(frozen=True)
class Entry:
    """A file (from ``source``, or ``data``), a symbolic link (``target``) or a folder of the image."""

    mode: int
    source: str | None = None
    data: bytes | None = None
    target: str | None = None

    @property
    def kind(self) -> str:
        if self.target is not None:
            return "link"
        return "folder" if self.source is None and self.data is None else "file"


@dataclass(frozen=True)
class Userland:
    """Absolute path inside to what lies there, and the digest of it all (64 hex digits)."""

    interpreter: Interpreter
    entries: dict[str, Entry]
    digest: str


def interpreter(executable: str | None = None) -> Interpreter:
    """The Python at ``executable``; without one, the Python behind this process."""
    executable = executable or str(getattr(sys, "_base_executable", None) or sys.executable)
    question = (
        "import json, os, platform, sys; p = os.path.realpath; "
        "print(json.dumps({'executable': p(sys.executable), 'version': platform.python_version(), "
        "'stdlib': p(os.path.dirname(os.__file__)), "
        "'library': f'{sys.platlibdir}/python{sys.version_info[0]}.{sys.version_info[1]}', "
        "'cache_tag': sys.implementation.cache_tag}))"
    )
    try:
        told = subprocess.run([executable, "-I", "-c", question], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise EnvironmentError_(f"The interpreter {executable} cannot be put in an image: {error}") from None
    return Interpreter(**json.loads(told.stdout))


def gather(python: Interpreter, packages: tuple[str, ...] = ("xllamacpp",), tools: tuple[str, ...] = TOOLS) -> Userland:
    """Everything that ``python``, ``packages`` (installed distributions of this process) and ``tools`` need to run."""
    entries = {path: Entry(mode) for path, mode in FOLDERS.items()}
    entries |= {path: Entry(0o644, data=data) for path, data in FILES.items()}
    entries |= _links_of_this_host()
    entries |= _interpreter_entries(python)
    for package in packages:
        entries |= _package_entries(package, f"{PREFIX}/{python.library}")
    entries |= _tool_entries(tools)
    entries |= _locale_entries()
    entries = _with_libraries(entries)
    for path in list(entries):
        for parent in PurePosixPath(path).parents:
            if str(parent) != "/":
                entries.setdefault(str(parent), Entry(0o755))
    entries = dict(sorted(entries.items()))
    return Userland(python, entries, _digest(entries, python))


def _links_of_this_host() -> dict[str, Entry]:
    """/bin and /sbin into /usr; /lib and its like only where this host has them so,
    for the loader's path depends on it."""
    links = {"/bin": Entry(0o777, target="usr/bin"), "/sbin": Entry(0o777, target="usr/bin")}
    for name in ("lib", "lib64", "lib32"):
        if Path("/", name).is_symlink():
            links[f"/{name}"] = Entry(0o777, target=f"usr/{name}")
    return links


def _file(source: Path | str) -> Entry:
    """A copy of a file, its mode reduced to the one thing that matters: may it be executed."""
    real = os.path.realpath(source)
    return Entry(0o755 if os.access(real, os.X_OK) else 0o644, source=real)


def _interpreter_entries(python: Interpreter) -> dict[str, Entry]:
    name = "python" + ".".join(python.version.split(".")[:2])
    library = f"{PREFIX}/{python.library}"
    entries = {
        f"{PREFIX}/bin/{name}": _file(python.executable),
        f"{PREFIX}/bin/python3": Entry(0o777, target=name),
        f"{PREFIX}/bin/python": Entry(0o777, target=name),
        f"{library}/lib-dynload": Entry(0o755),  # a landmark: without it the interpreter warns
    }
    for folder, folders, files in os.walk(python.stdlib, followlinks=True):
        folders[:] = sorted(f for f in folders if f not in LEFT_OUT and not f.startswith("config-"))
        for file in files:
            source = Path(folder, file)
            if not LEFT_OUT_FILES.fullmatch(file) and source.is_file():
                entries[f"{library}/{source.relative_to(python.stdlib)}"] = _file(source)
    return entries


def _package_entries(package: str, library: str) -> dict[str, Entry]:
    """An installed distribution, put beside the standard library: on ``sys.path`` of every interpreter, also
    Debian's, which has no site-packages, and also under ``-I``."""
    try:
        files = importlib.metadata.distribution(package).files or []
    except importlib.metadata.PackageNotFoundError:
        raise EnvironmentError_(f"The package {package} is not installed here; run: make setup") from None
    return {
        f"{library}/{file}": _file(str(file.locate()))
        for file in files
        if ".." not in file.parts and "__pycache__" not in file.parts and Path(str(file.locate())).is_file()
        and file.name not in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
    }  # fmt: skip


def _tool_entries(tools: tuple[str, ...]) -> dict[str, Entry]:
    found = {tool: shutil.which(tool, path="/usr/bin:/bin:/usr/sbin:/sbin") for tool in tools}
    return {f"/usr/bin/{tool}": _file(path) for tool, path in found.items() if path}


def _locale_entries() -> dict[str, Entry]:
    """C.UTF-8, for a C library that has it as files."""
    root = Path("/usr/lib/locale/C.utf8")
    return {str(path): _file(path) for path in root.rglob("*") if path.is_file()} if root.is_dir() else {}


def _with_libraries(entries: dict[str, Entry]) -> dict[str, Entry]:
    """``entries`` with the shared libraries they link. Extension modules of the standard library that lack one here are
    left out, as they could not be imported here either."""
    programs = {e.source: path for path, e in entries.items() if e.source and _is_elf(e.source)}
    linked = linked_libraries(list(programs))
    left_out = set()
    for program, needed in linked.items():
        if lacking := ", ".join(name for name, where in needed.items() if where is None):
            if "/lib-dynload/" not in programs[program]:
                raise EnvironmentError_(f"{program} lacks {lacking} on this machine; install the package that has it")
            left_out.add(programs[program])
    libraries = _needed([needed for program, needed in linked.items() if programs[program] not in left_out], programs)
    if "libc.so.6" not in libraries:
        raise EnvironmentError_(
            "This machine's interpreter does not use the GNU C library: name an image in the campaign instead"
        )
    home = Path(libraries["libc.so.6"]).parent
    for name in LOADED_LATER:
        if Path(home, name).exists():
            libraries.setdefault(name, str(Path(home, name)))
    kept = {path: entry for path, entry in entries.items() if path not in left_out}
    for name, where in libraries.items():
        folder = os.path.realpath(Path(where).parent if name.startswith("ld-linux") else home)
        kept[f"{folder}/{name}"] = Entry(0o755, source=os.path.realpath(where))
    return kept


def _needed(linked: Iterable[Mapping[str, str | None]], programs: Container[str]) -> dict[str, str]:
    """Name to path of what does not travel in its own package, where its relative run path finds it."""
    libraries: dict[str, str] = {}
    for needed in linked:
        for name, where in needed.items():
            if where is None or where in programs:
                continue
            if libraries.setdefault(name, where) != where and _sha256(where) != _sha256(libraries[name]):
                raise EnvironmentError_(f"{name} is needed in two versions: {libraries[name]} and {where}")
    return libraries


def linked_libraries(programs: list[str]) -> dict[str, dict[str, str | None]]:
    """For each program or library, what it links, directly or not: name to path, None where it is not found.

    The loader is listed under its own file name."""
    variables = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}
    try:
        told = subprocess.run(["ldd", *programs], capture_output=True, text=True, env=variables, check=False).stdout
    except OSError:
        raise EnvironmentError_("ldd is missing; install your C library's programs (Debian: libc-bin)") from None
    found: dict[str, dict[str, str | None]] = {program: {} for program in programs}
    current = found[programs[0]]
    for line in told.splitlines():
        if line and not line[0].isspace():
            current = found[line.rstrip(":")]
        elif match := re.fullmatch(r"\s+(\S+) => (not found|\S+)(?: \(0x[0-9a-f]+\))?", line):
            name, where = match.groups()
            current[Path(name).name] = None if where == "not found" else where
        elif match := re.fullmatch(r"\s+(/\S+) \(0x[0-9a-f]+\)", line):
            current[Path(match[1]).name] = match[1]
    return found


def _is_elf(path: str) -> bool:
    with open(path, "rb") as file:  # noqa: PTH123 - called for thousands of files
        return file.read(4) == b"\x7fELF"


def _sha256(path: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(entries: dict[str, Entry], python: Interpreter) -> str:
    total = hashlib.sha256(json.dumps([RECIPE, python.version, VARIABLES], sort_keys=True).encode())
    for path, entry in entries.items():
        if entry.source:
            content = _sha256(entry.source)
        elif entry.data is not None:
            content = hashlib.sha256(entry.data).hexdigest()
        else:
            content = entry.target or ""
        total.update(f"{path}\0{entry.kind}\0{entry.mode:o}\0{content}\n".encode())
    return total.hexdigest()


def write_tar(userland: Userland, file: Path) -> None:
    """The userland as a tar, with compiled Python: names sorted, time 0, owner root."""
    with tempfile.TemporaryDirectory(dir=file.parent, prefix="compiled-") as scratch:
        entries = dict(sorted((userland.entries | _compiled(userland, Path(scratch))).items()))
        with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
            for path, entry in entries.items():
                item = tarfile.TarInfo(path.lstrip("/"))
                item.mode = entry.mode
                if entry.target is not None:
                    item.type, item.linkname = tarfile.SYMTYPE, entry.target
                    tar.addfile(item)
                elif entry.source:
                    item.size = Path(entry.source).stat().st_size
                    with Path(entry.source).open("rb") as content:
                        tar.addfile(item, content)
                elif entry.data is not None:
                    item.size = len(entry.data)
                    tar.addfile(item, io.BytesIO(entry.data))
                else:
                    item.type = tarfile.DIRTYPE
                    tar.addfile(item)


COMPILE = """
import json, py_compile, sys
for source, inside, compiled in json.load(sys.stdin):
    py_compile.compile(source, compiled, inside, doraise=False, quiet=2,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


def _compiled(userland: Userland, scratch: Path) -> dict[str, Entry]:
    """Compiled Python for every module, made by the interpreter that will read it, on all CPUs."""
    python = userland.interpreter
    entries: dict[str, Path] = {}
    work: list[tuple[str, str, str]] = []
    for path, entry in userland.entries.items():
        if path.endswith(".py") and entry.source:
            inside = PurePosixPath(path)
            compiled = scratch / f"{len(work)}.pyc"
            work.append((entry.source, path, str(compiled)))
            entries[f"{inside.parent}/__pycache__/{inside.stem}.{python.cache_tag}.pyc"] = compiled
    lanes = len(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        running = []
        for lane in range(lanes):
            compiler = stack.enter_context(
                subprocess.Popen(
                    [python.executable, "-I", "-S", "-c", COMPILE],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    text=True,
                )
            )
            assert compiler.stdin is not None
            compiler.stdin.write(json.dumps(work[lane::lanes]))
            compiler.stdin.close()
            running.append(compiler)
        for compiler in running:
            if compiler.wait() != 0:
                raise EnvironmentError_(f"{python.executable} could not compile the standard library")
    made = {path: Entry(0o644, source=str(file)) for path, file in entries.items() if file.exists()}
    return made | {str(PurePosixPath(path).parent): Entry(0o755) for path in made}
