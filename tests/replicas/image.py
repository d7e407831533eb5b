"""Images with a replica inside, made from this machine's Python: the same userland that the product makes for itself,
plus the programs, libraries that only the entry point or only the image's linker cache leads to, and an ENTRYPOINT.

One base is imported; each version is a commit of it that says its version, so all share one layer.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import docker
import yaml

from actors.environments.docker import rootfs, userland

PROGRAMS = Path(__file__).with_name("programs")
OPTIONS_OF_VLLM = Path(__file__).parents[1] / "fixtures" / "vllm" / "h100_0.22.1" / "options.json"
ENTRYPOINT = "/opt/nvidia/nvidia_entrypoint.sh"
ONLY_BY_ENTRYPOINT = "/usr/local/tensorrt/lib"
ONLY_BY_CACHE = "/opt/hpcx/lib"

SHELL_SETTINGS = (
    f"export LD_LIBRARY_PATH={ONLY_BY_ENTRYPOINT}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\nexport "
    "OPAL_PREFIX=/opt/hpcx\n"
)
START = """\
#!/bin/bash
# Whatever is started in this image is started from here.
. /etc/shinit_v2
echo
echo "=================="
echo "== A replica =="
echo "=================="
echo
if [ $# -eq 0 ]; then set -- /bin/bash; fi
exec "$@"
"""
PROGRAM = "#!/usr/local/bin/python3\nfrom replica.{module} import main\nmain()\n"


@dataclass(frozen=True)
class Replicas:
    """Images of one session. ``tag`` makes their names its own, so that two sessions share an engine."""

    client: docker.DockerClient
    base: str
    tag: str

    def version(self, version: str) -> str:
        """The reference of an image whose programs are of ``version``."""
        reference = f"campaign-replica:{self.tag}-{version}"
        if not self.client.images.list(name=reference):
            container = self.client.containers.create(self.base, command=["none"])
            try:
                container.commit(
                    "campaign-replica", f"{self.tag}-{version}", changes=[f"ENV REPLICA_VERSION={version}"]
                )
            finally:
                container.remove()
        return reference

    def archive(self, version: str, folder: Path) -> Path:
        """The same as the file of ``docker save``."""
        file = folder / f"replica-{version}.tar"
        with file.open("wb") as out:
            out.writelines(self.client.images.get(self.version(version)).save(named=True))
        return file

    def remove(self, home: Path) -> None:
        """All of them, whatever names they were given meanwhile, the base last, of which the others are made; and what
        was exported of them to ``home``."""
        own = [
            (reference == self.base, image.id)
            for image in self.client.images.list(name="campaign-replica")
            for reference in image.tags
            if reference.startswith(f"campaign-replica:{self.tag}-")
        ]
        for _, image in sorted(own):
            self.client.images.remove(image, force=True)
            shutil.rmtree(rootfs.rootfs_folder(image, home), ignore_errors=True)


def build(client: docker.DockerClient, folder: Path) -> Replicas:
    """Import the base; ``folder`` is for scratch."""
    tar, tag = folder / "base.tar", uuid.uuid4().hex[:8]
    python = userland.interpreter()
    userland.write_tar(userland.gather(python, ("click", "PyYAML"), (*userland.TOOLS, "bash", "ldconfig")), tar)
    _add(tar, _files(f"{userland.PREFIX}/{python.library}/replica", folder))
    changes = [f"ENV {name}={value}" for name, value in userland.VARIABLES.items()]
    changes += ["ENV ENV=/etc/shinit_v2", f"ENTRYPOINT {json.dumps([ENTRYPOINT])}", "WORKDIR /"]
    answer = client.api.import_image_from_file(
        str(tar), repository="campaign-replica", tag=f"{tag}-base", changes=changes
    )
    assert "error" not in answer, answer
    tar.unlink()
    return Replicas(client, f"campaign-replica:{tag}-base", tag)


def _files(package: str, folder: Path) -> dict[str, tuple[int, bytes]]:
    """Path inside to mode and content."""
    programs = [*PROGRAMS.glob("*.py"), OPTIONS_OF_VLLM]
    found = {f"{package}/{file.name}": (0o644, file.read_bytes()) for file in programs}
    for name, module in (("trtllm-bench", "trtllm_bench"), ("vllm", "vllm_program")):
        found[f"/usr/local/bin/{name}"] = (0o755, PROGRAM.format(module=module).encode())
    library = _any_library()
    found |= {
        ENTRYPOINT: (0o755, START.encode()),
        "/etc/shinit_v2": (0o644, SHELL_SETTINGS.encode()),
        f"{ONLY_BY_ENTRYPOINT}/libnvinfer.so.10": (0o755, library),
        f"{ONLY_BY_CACHE}/libmpi.so.40": (0o755, library),
        "/etc/ld.so.conf": (0o644, b"include /etc/ld.so.conf.d/*.conf\n"),
        "/etc/ld.so.conf.d/hpcx.conf": (0o644, f"{ONLY_BY_CACHE}\n".encode()),
        "/etc/ld.so.cache": (0o644, _linker_cache(library, folder)),
    }
    return found


def _any_library() -> bytes:
    """A shared library that has no name of its own inside, so that it may be called anything: no compiler is needed."""
    found = sorted(Path(yaml.__file__).parent.glob("_yaml*.so"))
    assert found, "PyYAML is installed without its compiled module; install it from its wheel"
    return found[0].read_bytes()


def _linker_cache(library: bytes, folder: Path) -> bytes:
    """What ``ldconfig`` makes of the image's own configuration."""
    root = folder / "root"
    (root / "etc/ld.so.conf.d").mkdir(parents=True)
    (root / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
    (root / "etc/ld.so.conf.d/hpcx.conf").write_text(f"{ONLY_BY_CACHE}\n")
    place = root / ONLY_BY_CACHE.strip("/")
    place.mkdir(parents=True)
    (place / "libmpi.so.40").write_bytes(library)
    ldconfig = shutil.which("ldconfig", path="/usr/sbin:/sbin:/usr/bin")
    assert ldconfig, "ldconfig is missing; install your C library's programs (Debian: libc-bin)"
    subprocess.run([ldconfig, "-X", "-r", str(root)], check=True)
    cache = (root / "etc/ld.so.cache").read_bytes()
    shutil.rmtree(root)
    return cache


def _add(tar: Path, files: dict[str, tuple[int, bytes]]) -> None:
    with tarfile.open(tar, "a", format=tarfile.PAX_FORMAT) as out:
        folders = {str(parent) for path in files for parent in Path(path).parents if str(parent) != "/"}
        for path in sorted(folders - set(out.getnames())):
            if path.strip("/") not in out.getnames():
                item = tarfile.TarInfo(path.strip("/"))
                item.type, item.mode = tarfile.DIRTYPE, 0o755
                out.addfile(item)
        for path, (mode, content) in files.items():
            item = tarfile.TarInfo(path.strip("/"))
            item.mode, item.size = mode, len(content)
            out.addfile(item, io.BytesIO(content))
