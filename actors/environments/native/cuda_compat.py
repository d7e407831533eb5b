"""Forward compatibility: the libcuda that an image brings,
where the toolkit's hook would put it in front of the driver's."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from actors.environments.native.supervisor import inside

COMPAT = "/usr/local/cuda/compat"


def compat_folder(root: str, options: dict[str, str]) -> tuple[str | None, str]:
    """The image's folder with a libcuda of its own where the toolkit's hook would put
    that in front of the driver's, and why or why not.

    The hook's rule (nvidia-container-toolkit, ``cudacompat.go``): exactly one ``libcuda.so.X.Y`` in the folder, a
    linker cache in the image, and a CUDA version above the host's, else a major driver version above it. Whether the
    GPU can do it (data-centre GPUs can, a GB10 cannot) is not asked; ``alike.py`` finds out whether the arms then load
    the same.
    """
    at = options.get("cuda-compat-container-root") or COMPAT
    folder = Path(inside(root, at))
    if not folder.is_dir():
        return None, f"the image has no {at}"
    if not Path(inside(root, "/etc/ld.so.cache")).exists():
        return None, "the image has no linker cache"
    own = [file for file in folder.glob("libcuda.so.*.*") if not file.is_symlink()]
    if len(own) != 1:
        return None, f"{at} holds {len(own)} libraries of the name libcuda.so.X.Y"
    version = own[0].name.removeprefix("libcuda.so.")
    place = "/" + str(folder.relative_to(root))
    host_cuda, cuda = options.get("host-cuda-version"), cuda_version(own[0])
    if host_cuda and cuda:
        newer = _numbers(cuda) > _numbers(host_cuda)
        text = f"the image's libcuda {version} is of CUDA {cuda}, the driver of CUDA {host_cuda}"
    elif host := options.get("host-driver-version"):
        newer = _numbers(version)[:1] > _numbers(host)[:1]
        text = f"the image's libcuda is of driver {version}, the host's driver is {host}"
    else:
        return None, "the hook is not told the driver's version"
    return (place, text) if newer else (None, text)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def cuda_version(library: Path) -> str | None:
    """Of a libcuda for forward compatibility, from the note in it (``.note.cuda.fwd_compatibility``, JSON);
    None for one without."""
    if library.stat().st_size == 0:
        return None
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = re.search(rb'"CUDA Version"\s*:\s*"v?([\d.]+)"', content)
        return found[1].decode() if found else None
