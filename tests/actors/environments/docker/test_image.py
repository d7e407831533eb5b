"""An image is present after ``ensure``, whichever of the three sources it has, and is fetched or made once."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import platform
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from actors.environments import EnvironmentError_
from actors.environments.docker import image
from actors.types import Image, ImageIdentity


def layer(**files: bytes) -> bytes:
    """A tar with these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            tar.addfile(item, io.BytesIO(content))
    return buffer.getvalue()


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@pytest.fixture
def imported(docker_engine: docker.DockerClient) -> Iterator[list[str]]:
    """References that the test made; removed after it."""
    references: list[str] = []
    yield references
    for reference in references:
        docker_engine.images.remove(reference, force=True)


# --- local --------------------------------------------------------------------------------------------------------


def test_the_local_image_is_built_once_and_says_what_a_process_in_it_sees(
    docker_engine: docker.DockerClient, local_image: ImageIdentity, home: Path
) -> None:
    said: list[str] = []
    again = image.ensure(docker_engine, Image(), home, said.append)
    assert said == []
    assert again.digest == local_image.digest
    assert again.reference == f"campaign-local:{str(again.content_digest).removeprefix('sha256:')[:12]}"
    assert again.variables["PATH"].startswith("/usr/local/bin:")
    assert again.workdir == "/"
    told = docker_engine.containers.run(again.digest, ["env"], network_mode="none", remove=True).decode().split()
    assert {f"{k}={v}" for k, v in again.variables.items()} <= set(told)


def test_a_tag_that_somebody_moved_is_not_trusted(
    docker_engine: docker.DockerClient, local_image: ImageIdentity, home: Path, imported: list[str]
) -> None:
    docker_engine.api.import_image_from_data(layer(evil=b"1"), repository="impostor", tag="1")
    imported.append("impostor:1")
    docker_engine.images.get("impostor:1").tag(*local_image.reference.split(":"))
    try:
        assert image._labelled(docker_engine, local_image.reference, str(local_image.content_digest)[7:]) is None
    finally:
        docker_engine.images.get(local_image.digest).tag(*local_image.reference.split(":"))
    assert image.ensure(docker_engine, Image(), home).digest == local_image.digest


# --- registry -----------------------------------------------------------------------------------------------------


@pytest.fixture
def registry() -> Iterator[tuple[str, str]]:
    """A registry on loopback that has one image, ``tiny:1``; yields its address and the manifest's digest."""
    content = layer(hello=b"hello\n")
    packed = gzip.compress(content, mtime=0)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    config = json.dumps(
        {
            "architecture": machine, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(content)]},
            "config": {"Env": ["FROM=registry"], "WorkingDir": "/work", "User": "1000"},
        }
    ).encode()  # fmt: skip
    media = "application/vnd.docker.distribution.manifest.v2+json"
    blob = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    manifest = json.dumps(
        {
            "schemaVersion": 2, "mediaType": media,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config),
            "digest": digest(config)},
            "layers": [{"mediaType": blob, "size": len(packed), "digest": digest(packed)}],
        }
    ).encode()  # fmt: skip
    answers = {"/v2/": (b"{}", "application/json")}
    answers |= {f"/v2/tiny/manifests/{name}": (manifest, media) for name in ("1", digest(manifest))}
    answers |= {f"/v2/tiny/blobs/{digest(b)}": (b, "application/octet-stream") for b in (config, packed)}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, kind = answers.get(self.path, (b"", ""))
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if kind == media:
                self.send_header("Docker-Content-Digest", digest(body))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", digest(manifest)
        server.shutdown()


def test_an_image_is_pulled_once_and_known_by_its_registry_digest(
    docker_engine: docker.DockerClient, registry: tuple[str, str], home: Path, imported: list[str]
) -> None:
    address, manifest = registry
    reference = f"{address}/tiny:1"
    said: list[str] = []
    pulled = image.ensure(docker_engine, Image(source="registry", reference=reference), home, said.append)
    imported.append(reference)
    assert said[0] == f"Pulling {reference}"
    assert pulled.repo_digest == f"{address}/tiny@{manifest}"
    assert (pulled.variables, pulled.workdir, pulled.user) == ({"FROM": "registry"}, "/work", "1000")
    said.clear()
    assert image.ensure(docker_engine, Image(source="registry", reference=reference), home, said.append) == pulled
    by_digest = image.ensure(docker_engine, Image(source="registry", reference=pulled.repo_digest), home, said.append)
    assert by_digest.digest == pulled.digest
    assert said == []


@pytest.mark.parametrize("reference", ["127.0.0.1:9/none:1", "127.0.0.1:9/none@sha256:" + "0" * 64])
def test_an_image_that_cannot_be_pulled_is_named_with_the_other_ways_to_get_it(
    docker_engine: docker.DockerClient, home: Path, reference: str
) -> None:
    with pytest.raises(EnvironmentError_, match=rf"(?s){reference} is not here and cannot be pulled.*docker save"):
        image.ensure(docker_engine, Image(source="registry", reference=reference), home)


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("debian", ("debian", "latest")),
        ("localhost:5000/a/b", ("localhost:5000/a/b", "latest")),
        ("localhost:5000/a/b:2.1", ("localhost:5000/a/b", "2.1")),
        ("nvcr.io/nvidia/x:1.2rc4", ("nvcr.io/nvidia/x", "1.2rc4")),
        ("a/b@sha256:0123", ("a/b", "sha256:0123")),
    ],
)
def test_a_reference_without_a_tag_means_one_image_never_all(reference: str, parts: tuple[str, str]) -> None:
    assert image._split(reference) == parts


def test_a_pull_tells_how_far_it_is_and_ends_on_an_error() -> None:
    half = {"status": "Downloading", "id": "a", "progressDetail": {"current": 2**30, "total": 2**31}}
    done = {"status": "Download complete", "id": "a", "progressDetail": {}}
    assert list(image._progress([half, done, {"status": "Digest: …"}], every_s=0)) == [
        "1.0 of 2.0 GiB", "2.0 of 2.0 GiB", "2.0 of 2.0 GiB",
    ]  # fmt: skip
    with pytest.raises(EnvironmentError_, match="no space left"):
        list(image._progress([half, {"error": "no space left on device"}], every_s=0))


# --- archive ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["saved", "rootfs"])
def test_an_archive_is_loaded_once_whether_saved_or_a_root_filesystem(
    docker_engine: docker.DockerClient, home: Path, tmp_path: Path, imported: list[str], kind: str
) -> None:
    file = tmp_path / f"{kind}.tar"
    content = layer(kind=kind.encode())
    if kind == "saved":
        docker_engine.api.import_image_from_data(content, repository="tosave", tag="1", changes=["ENV A=b"])
        file.write_bytes(b"".join(docker_engine.images.get("tosave:1").save()))
        docker_engine.images.remove("tosave:1")
    else:
        file.write_bytes(content)
    said: list[str] = []
    loaded = image.ensure(docker_engine, Image(source="archive", reference=str(file)), home, said.append)
    imported.append(loaded.reference)
    assert loaded.reference == f"campaign-archive:{digest(file.read_bytes())[7:19]}"
    assert loaded.variables.get("A") == ("b" if kind == "saved" else None)
    assert len(said) == 1
    assert image.ensure(docker_engine, Image(source="archive", reference=str(file)), home, said.append) == loaded
    assert len(said) == 1


def test_an_archive_that_changed_is_another_image(
    docker_engine: docker.DockerClient, home: Path, tmp_path: Path, imported: list[str]
) -> None:
    file = tmp_path / "rootfs.tar"
    seen = set[str]()
    for content in (b"one", b"two"):
        file.write_bytes(layer(file=content))
        os.utime(file, ns=(0, len(seen)))
        found = image.ensure(docker_engine, Image(source="archive", reference=str(file)), home)
        imported.append(found.reference)
        seen.add(found.content_digest)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("content", "why"), [(None, "does not exist; make it with: docker save"), (b"no tar at all" * 100, "is no tar")]
)
def test_an_archive_that_cannot_be_used_is_named(
    docker_engine: docker.DockerClient, home: Path, tmp_path: Path, content: bytes | None, why: str
) -> None:
    file = tmp_path / "x.tar"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(EnvironmentError_, match=f"x.tar {why}"):
        image.ensure(docker_engine, Image(source="archive", reference=str(file)), home)
