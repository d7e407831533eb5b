"""Make the two images of ``configs/campaigns/two-images.yaml`` out of this machine's own userland, without a network.

    python -m benchmarks.two_images

``campaign-example:plain`` is the local image under another name. ``campaign-example:late`` is the same but for its
engine, which begins every request ``LATE_MS`` late and calls itself another version: a difference that a campaign of
the two must find.
"""

from __future__ import annotations

import io
import os
import py_compile
import sys
import tarfile
import tempfile
from pathlib import Path

import docker

from actors import host
from actors.environments.docker import daemon, image, userland
from actors.types import Image

LATE_MS = 100.0
PLAIN, LATE = "campaign-example:plain", "campaign-example:late"
PATCH = f"""

__version__ += "+late"
_Server = Server


class Server(_Server):
    def handle_completions(self, *arguments):
        import time

        time.sleep({LATE_MS / 1000})
        return super().handle_completions(*arguments)
"""


def make(client: docker.DockerClient, home: Path) -> None:
    """Both images, in the engine of ``client``."""
    client.images.get(image.ensure(client, Image(), home).digest).tag(*PLAIN.split(":"))
    python = userland.interpreter()
    folder = f"{userland.PREFIX.lstrip('/')}/{python.library}/xllamacpp"
    container = client.containers.create(PLAIN, command=["none"], network_mode="none")
    try:
        container.put_archive("/", _patched(folder, python.cache_tag))
        container.commit(*LATE.split(":"))
    finally:
        container.remove()


def _patched(folder: str, cache_tag: str) -> bytes:
    """A tar of the engine's package with :data:`PATCH` behind it, compiled as the image's own files are,
    which are never looked at again."""
    import xllamacpp

    source = Path(str(xllamacpp.__file__)).read_text() + PATCH
    with tempfile.TemporaryDirectory() as scratch:
        module, compiled = Path(scratch, "__init__.py"), Path(scratch, "compiled")
        module.write_text(source)
        py_compile.compile(
            str(module),
            str(compiled),
            dfile=f"/{folder}/__init__.py",
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        files = {"__init__.py": module.read_bytes(), f"__pycache__/__init__.{cache_tag}.pyc": compiled.read_bytes()}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def main() -> int:
    home = host.home()
    if os.geteuid() == 0:
        daemon.ensure(home)
    make(daemon.connect(home), home)
    print(
        f"{PLAIN} and {LATE}, whose engine begins every request {LATE_MS:g} ms late: campaign run "
        "configs/campaigns/two-images.yaml"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
