"""Images: where the userland of both arms comes from, made present in the engine of this unit.

``local`` is gathered from this machine and imported under a tag that is its content digest; ``registry`` is
used where present and pulled where not; ``archive`` is the file of ``docker save``, or a tar of a root filesystem.
Only ``registry`` ever uses the network.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, ImageNotFound

from actors.environments import EnvironmentError_, refusals
from actors.environments.docker import userland
from actors.environments.docker.rootfs import check_rootfs, export_rootfs
from actors.types import Image, ImageIdentity

__all__ = ["check_rootfs", "ensure", "export_rootfs"]

CONTENT_LABEL = "campaign.content"
Say = Callable[[str], None]


def ensure(
    client: docker.DockerClient,
    image: Image,
    home: Path,
    say: Say = lambda _: None,
    fetch: bool = True,
    engine: str = "docker",
) -> ImageIdentity:
    """The image, present in the engine, whose name is ``engine``. ``say`` gets a line now and then while that takes
    long. Without ``fetch`` nothing is pulled.

    Raises EnvironmentError_ where it cannot be had; the message says why, its lines after the first what to do.
    """
    try:
        return _ensure(client, image, home, say, fetch).model_copy(update={"engine": engine})
    except (docker.errors.DockerException, requests.RequestException) as error:
        name = image.reference or "campaign-local"
        raise EnvironmentError_(f"image {name}: {_told(error, name)}") from None


def _told(error: Exception, reference: str) -> str:
    return refusals.told(str(getattr(error, "explanation", None) or error).strip(), reference)


def _ensure(client: docker.DockerClient, image: Image, home: Path, say: Say, fetch: bool) -> ImageIdentity:
    if image.source == "local":
        return _local(client, home, say)
    if image.reference is None:
        raise EnvironmentError_(f"image: source {image.source} needs a reference")
    if image.source == "registry":
        return _registry(client, image.reference, say, fetch)
    return _archive(client, Path(image.reference).expanduser(), home, say)


def identity(found: Any, reference: str, content: str | None = None, repo: str | None = None) -> ImageIdentity:
    """Of docker-py's image."""
    config = found.attrs.get("Config") or {}
    variables = dict(item.split("=", 1) for item in config.get("Env") or () if "=" in item)
    return ImageIdentity(
        reference=reference, digest=found.id, variables=variables, workdir=config.get("WorkingDir") or "/",
        user=config.get("User") or "", entrypoint=tuple(config.get("Entrypoint") or ()), content_digest=content,
            repo_digest=repo,
    )  # fmt: skip


def present(client: docker.DockerClient, reference: str) -> Any | None:
    """docker-py's image, or None where the engine has none of that name. Raises EnvironmentError_."""
    try:
        return client.images.get(reference)
    except ImageNotFound:
        return None
    except APIError as error:
        raise EnvironmentError_(f"image {reference}: {error.explanation or error}") from None


def _import(client: docker.DockerClient, tar: Path, repository: str, content: str, changes: list[str]) -> Any:
    """``docker import`` of a root filesystem, tagged and labelled with its content digest. Tagged apart, because Podman
    forgets the tag of an import."""
    label = f"LABEL {CONTENT_LABEL}=sha256:{content}"
    answer = client.api.import_image_from_file(str(tar), changes=[*changes, label])
    imported = ""
    for line in filter(None, answer.splitlines()):
        if "error" in (told := json.loads(line)):
            raise EnvironmentError_(f"The container engine refused {tar}: {told['error']}")
        imported = str(told.get("id") or told.get("status") or imported)
    client.images.get(imported).tag(repository, content[:12])
    return client.images.get(f"{repository}:{content[:12]}")


def _labelled(client: docker.DockerClient, reference: str, content: str) -> Any | None:
    """The image under this tag, if it still is what was imported there."""
    found = present(client, reference)
    return found if found is not None and found.labels.get(CONTENT_LABEL) == f"sha256:{content}" else None


# --- local ------------------------------------------------------------------------------------------------------


def _local(client: docker.DockerClient, home: Path, say: Say) -> ImageIdentity:
    gathered = userland.gather(userland.interpreter())
    reference = f"campaign-local:{gathered.digest[:12]}"
    found = _labelled(client, reference, gathered.digest)
    if found is None:
        began = time.monotonic()
        folder = home / "images"
        folder.mkdir(parents=True, exist_ok=True)
        tar = folder / f"local-{gathered.digest[:12]}-{uuid.uuid4().hex[:8]}.tar"
        try:
            userland.write_tar(gathered, tar)
            changes = [f"ENV {name}={value}" for name, value in userland.VARIABLES.items()]
            changes += ["WORKDIR /", 'CMD ["python3"]', f"LABEL campaign.python={gathered.interpreter.version}"]
            found = _import(client, tar, "campaign-local", gathered.digest, changes)
            mib = tar.stat().st_size / 2**20
        finally:
            tar.unlink(missing_ok=True)
        say(f"Built {reference} from this machine: {mib:.0f} MiB, {time.monotonic() - began:.1f} s")
    return identity(found, reference, content=f"sha256:{gathered.digest}")


# --- registry -----------------------------------------------------------------------------------------------------


def _registry(client: docker.DockerClient, reference: str, say: Say, fetch: bool) -> ImageIdentity:
    found = present(client, reference)
    if found is None and not fetch:
        raise EnvironmentError_(f"image {reference} is not here\ndocker pull {reference}")
    if found is None:
        say(f"Pulling {reference}")
        repository, tag = _split(reference)
        try:
            for line in _progress(client.api.pull(repository, tag=tag, stream=True, decode=True)):
                say(f"Pulling {reference}: {line}")
            found = client.images.get(reference)
        except (APIError, ImageNotFound, EnvironmentError_) as error:
            why = _told(error, reference)
            remedy = "" if "\n" in why else f"\n{BY_HAND}"
            raise EnvironmentError_(f"image {reference} is not here and cannot be pulled: {why}{remedy}") from None
    repository = _split(reference)[0]
    digests = found.attrs.get("RepoDigests") or []
    own = [digest for digest in digests if digest.split("@")[0].endswith(repository)] or digests
    return identity(found, reference, repo=own[0] if own else None)


BY_HAND = (
    "Try `docker pull` by hand. If its registry wants an account: docker login. Without a network bring it as a file:\n"
    "docker save on a machine that has it, then image: {source: archive, reference: FILE} in the campaign."
)


def _split(reference: str) -> tuple[str, str]:
    """``registry:5000/name:tag`` or ``name@sha256:…`` to what the pull takes; no tag means ``latest``, never all."""
    if "@" in reference:
        name, _, digest = reference.partition("@")
        return name, digest
    head, slash, tail = reference.rpartition("/")
    name, _, tag = tail.partition(":")
    return f"{head}{slash}{name}", tag or "latest"


def _progress(lines: Iterable[dict[str, Any]], every_s: float = 5.0) -> Iterator[str]:
    """What a pull says of its layers, summed up now and then. Raises EnvironmentError_ when it reports an error."""
    layers: dict[str, tuple[int, int]] = {}
    told = time.monotonic()
    for line in lines:
        if "error" in line:
            raise EnvironmentError_(str(line["error"]))
        detail = line.get("progressDetail") or {}
        if line.get("status") == "Downloading" and detail.get("total"):
            layers[line["id"]] = (detail["current"], detail["total"])
        elif line.get("status") in ("Download complete", "Pull complete") and line.get("id") in layers:
            layers[line["id"]] = (layers[line["id"]][1],) * 2
        if layers and time.monotonic() - told >= every_s:
            told = time.monotonic()
            done, total = (sum(pair[i] for pair in layers.values()) / 2**30 for i in (0, 1))
            yield f"{done:.1f} of {total:.1f} GiB"


# --- archive ------------------------------------------------------------------------------------------------------


def _archive(client: docker.DockerClient, file: Path, home: Path, say: Say) -> ImageIdentity:
    """Tagged ``campaign-archive:<sha256 of the file, 12 hex>``, so that it is loaded once."""
    if not file.is_file():
        raise EnvironmentError_(f"image archive {file} does not exist; make it with: docker save IMAGE -o {file}")
    content = _file_digest(file, home)
    reference = f"campaign-archive:{content[:12]}"
    found = present(client, reference)
    if found is None:
        say(f"Loading {file} ({file.stat().st_size / 2**30:.1f} GiB)")
        try:
            saved = _is_saved_image(file)
        except tarfile.TarError as error:
            raise EnvironmentError_(f"image archive {file} is no tar: {error}") from None
        if saved:
            with file.open("rb") as stream:
                loaded = client.images.load(stream)
            if len(loaded) != 1:
                names = ", ".join(name for image in loaded for name in image.tags or [image.id])
                raise EnvironmentError_(f"image archive {file} must hold one image, but holds {len(loaded)}: {names}")
            found = loaded[0]
            found.tag(*reference.split(":"))
            found.reload()
        else:
            found = _import(client, file, "campaign-archive", content, [])
    return identity(found, reference, content=f"sha256:{content}")


def _is_saved_image(file: Path) -> bool:
    """Whether it comes from ``docker save`` (manifest.json) or an OCI layout; else it is a root filesystem."""
    with tarfile.open(file) as tar:
        return any(item.name.removeprefix("./") in ("manifest.json", "oci-layout") for item in tar)


def _file_digest(file: Path, home: Path) -> str:
    """sha256 of the file, remembered by size and time: an archive may be tens of GiB."""
    known_file = home / "images" / "archives.json"
    known_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        known = json.loads(known_file.read_text())
    except (OSError, ValueError):
        known = {}
    stat = file.stat()
    key = f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    if key not in known:
        with file.open("rb") as stream:
            known[key] = hashlib.file_digest(stream, "sha256").hexdigest()
        fresh = known_file.with_suffix(f".{uuid.uuid4().hex[:8]}")
        fresh.write_text(json.dumps(known, indent=1))
        fresh.replace(known_file)
    digest: str = known[key]
    return digest
