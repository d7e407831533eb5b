"""The exported root filesystem is the image's, whole or absent, and whatever differs from it is named."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from actors.environments import EnvironmentError_
from actors.environments.docker.options import HOME_LABEL
from actors.environments.docker.rootfs import EXPORT, ROLE, check_rootfs, export_rootfs, extract, labels, manifest_file
from actors.types import ImageIdentity

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root")


def entry(name: str, content: bytes | None = None, **fields: Any) -> tuple[tarfile.TarInfo, bytes | None]:
    item = tarfile.TarInfo(name)
    item.size = len(content or b"")
    item.mtime = 1_700_000_000
    for key, value in fields.items():
        setattr(item, key, value)
    return item, content


def tar_of(*entries: tuple[tarfile.TarInfo, bytes | None]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for item, content in entries:
            tar.addfile(item, io.BytesIO(content) if content is not None else None)
    return buffer.getvalue()


FOLDER: dict[str, Any] = {"type": tarfile.DIRTYPE, "mode": 0o755}
SMALL = tar_of(
    entry("etc", **FOLDER),
    entry("etc/motd", b"welcome\n", mode=0o640, uid=1234, gid=5678),
    entry("etc/twin", type=tarfile.LNKTYPE, linkname="etc/motd", mode=0o640, uid=1234, gid=5678),
    entry("etc/alias", type=tarfile.SYMTYPE, linkname="/etc/motd", mode=0o777),
    entry("sudo", b"#!", mode=0o4755),
    entry("capable", b"x", mode=0o755, pax_headers={"SCHILY.xattr.user.colour": "blue"}),
    entry("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
    entry("empty", **FOLDER),
)


@pytest.fixture
def small(docker_engine: docker.DockerClient) -> Iterator[ImageIdentity]:
    """An image of nine entries."""
    docker_engine.api.import_image_from_data(SMALL, repository="small", tag="1")
    found = docker_engine.images.get("small:1")
    yield ImageIdentity(reference="small:1", digest=str(found.id))
    docker_engine.images.remove("small:1", force=True)


@pytest.fixture
def exported(docker_engine: docker.DockerClient, small: ImageIdentity, home: Path) -> ImageIdentity:
    return export_rootfs(docker_engine, small, home)


def root_of(identity: ImageIdentity) -> Path:
    assert identity.rootfs is not None
    return Path(identity.rootfs)


def test_owners_modes_times_links_devices_and_attributes_are_those_of_the_image(exported: ImageIdentity) -> None:
    root = root_of(exported)
    motd = (root / "etc/motd").stat()
    assert (motd.st_uid, motd.st_gid, stat.S_IMODE(motd.st_mode), motd.st_mtime) == (1234, 5678, 0o640, 1_700_000_000)
    assert (root / "etc/twin").stat().st_ino == motd.st_ino
    assert (root / "etc/alias").readlink() == Path("/etc/motd")
    assert stat.S_IMODE((root / "sudo").stat().st_mode) == 0o4755
    assert (root / "null").stat().st_rdev == os.makedev(1, 3)
    assert (root / "empty").stat().st_mtime == 1_700_000_000


def test_extended_attributes_survive(tmp_path: Path) -> None:
    list(extract(iter([SMALL]), tmp_path))
    assert os.getxattr(tmp_path / "capable", "user.colour") == b"blue"


def test_it_is_exported_once_for_each_image(
    docker_engine: docker.DockerClient, exported: ImageIdentity, home: Path
) -> None:
    (root_of(exported) / "mark").write_text("")
    said: list[str] = []
    again = export_rootfs(docker_engine, exported.model_copy(update={"rootfs": None}), home, said.append)
    assert again == exported
    assert said == []
    assert (root_of(again) / "mark").exists()
    ours = [f"{ROLE}={EXPORT}", f"{HOME_LABEL}={home.absolute()}"]
    assert docker_engine.containers.list(all=True, filters={"label": ours}) == []


def test_a_fresh_export_differs_in_nothing(
    docker_engine: docker.DockerClient, exported: ImageIdentity, local_image: ImageIdentity, home: Path
) -> None:
    assert check_rootfs(exported, deep=True) == []
    own = export_rootfs(docker_engine, local_image.model_copy(update={"rootfs": None}), home)
    assert check_rootfs(own, deep=True) == []


def rewrite_in_place(root: Path) -> None:
    before = (root / "etc/motd").stat()
    (root / "etc/motd").write_bytes(b"WELCOME\n")
    os.utime(root / "etc/motd", ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "etc/motd was written to": lambda root: (root / "etc/motd").write_bytes(b"WELCOME\n"),
    "etc/motd has 3 bytes instead of 8": lambda root: (root / "etc/motd").write_bytes(b"hi\n"),
    "etc/motd has mode 600 instead of 640": lambda root: (root / "etc/motd").chmod(0o600),
    "etc/motd belongs to 0:0 instead of 1234:5678": lambda root: os.chown(root / "etc/motd", 0, 0),
    "sudo is missing": lambda root: (root / "sudo").unlink(),
    "sudo is no longer a file": lambda root: ((root / "sudo").unlink(), (root / "sudo").mkdir()),
    "etc/alias points to motd instead of /etc/motd": lambda root: (
        (root / "etc/alias").unlink(),
        (root / "etc/alias").symlink_to("motd"),
    ),
    "etc/extra was added": lambda root: (root / "etc/extra").write_text("new"),
    "etc/motd has other content": rewrite_in_place,
}


@pytest.mark.parametrize("difference", CHANGES)
def test_a_difference_is_named(exported: ImageIdentity, difference: str) -> None:
    CHANGES[difference](root_of(exported))
    only_deep = "other content" in difference
    assert check_rootfs(exported) == [] or not only_deep
    assert difference in check_rootfs(exported, deep=only_deep)


def test_mounts_and_the_places_made_for_them_are_no_difference(exported: ImageIdentity, tmp_path: Path) -> None:
    root = root_of(exported)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model").write_text("large")
    (root / "campaign" / "models").mkdir(parents=True)
    (root / "etc/hosts-of-the-run").touch()  # an empty file, bound over
    subprocess.run(["mount", "--bind", tmp_path / "weights", root / "campaign/models"], check=True)
    try:
        assert check_rootfs(exported, deep=True) == []
    finally:
        subprocess.run(["umount", root / "campaign/models"], check=True)


def test_half_an_export_is_never_taken_for_a_whole_one(
    docker_engine: docker.DockerClient, small: ImageIdentity, home: Path, tmp_path: Path
) -> None:
    name = small.digest.removeprefix("sha256:")[:12]
    half = home / "rootfs" / f".partial-{name}"
    half.mkdir(parents=True)
    (half / "leftover").write_text("x")
    (half.parent / f".partial-{name}.jsonl").write_text("{}\n")
    (home / "rootfs" / name).mkdir()  # a tree without its manifest
    (home / "rootfs" / name / "leftover").write_text("x")
    left = docker_engine.containers.create(small.digest, ["none"], labels=labels(home), network_mode="none")
    other = docker_engine.containers.create(small.digest, ["none"], labels=labels(tmp_path / "x"), network_mode="none")

    identity = export_rootfs(docker_engine, small, home)
    other.reload()  # another home's export, which may be running, is not touched
    other.remove(force=True)
    assert check_rootfs(identity, deep=True) == []
    assert sorted(p.name for p in (home / "rootfs").iterdir()) == [".lock", name, f"{name}.manifest.jsonl"]
    with pytest.raises(docker.errors.NotFound):
        left.reload()


def test_an_export_that_breaks_off_leaves_nothing_and_is_told(
    docker_engine: docker.DockerClient, small: ImageIdentity, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Iterator[bytes]:
        yield SMALL[:1500]
        raise ConnectionResetError("the engine went away")

    with monkeypatch.context() as patched:
        patched.setattr(docker.models.containers.Container, "export", broken)
        with pytest.raises(EnvironmentError_, match=r"small:1 could not be exported: the engine went away"):
            export_rootfs(docker_engine, small, home)
    assert [p.name for p in (home / "rootfs").iterdir()] == [".lock"]
    assert check_rootfs(export_rootfs(docker_engine, small, home)) == []


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../outside", b"x")],
        [entry("way", type=tarfile.SYMTYPE, linkname="/tmp"), entry("way/outside", b"x")],
        [entry("outside", type=tarfile.LNKTYPE, linkname="../secret")],
        [
            entry("way", type=tarfile.SYMTYPE, linkname=".."),
            entry("outside", type=tarfile.LNKTYPE, linkname="way/secret"),
        ],
    ],
    ids=["dots", "through a link", "a hard link with dots", "a hard link through a link"],
)
def test_an_entry_that_leads_out_is_refused(
    tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes | None]]
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("x")
    with pytest.raises(tarfile.TarError, match="leads out of its folder"):
        list(extract(iter([tar_of(*entries)]), root))
    assert not (tmp_path / "outside").exists()
    assert not (root / "outside").exists()
    assert not Path("/tmp/outside").exists()


@pytest.mark.parametrize("size", [1, 7, 511, 4096])
def test_the_size_of_the_chunks_does_not_matter(tmp_path: Path, size: int) -> None:
    chunks = (SMALL[i : i + size] for i in range(0, len(SMALL), size))
    lines = list(extract(chunks, tmp_path))
    assert [line["path"] for line in lines] == [
        "etc", "etc/motd", "etc/twin", "etc/alias", "sudo", "capable", "null", "empty",
    ]  # fmt: skip


def test_the_manifest_is_of_the_stream_and_readable_by_any_tool(exported: ImageIdentity) -> None:
    lines = {line["path"]: line for line in map(json.loads, manifest_file(root_of(exported)).read_text().splitlines())}
    assert lines["etc/motd"] | {"mtime": 0} == {
        "path": "etc/motd", "kind": "file", "mode": 0o640, "uid": 1234, "gid": 5678, "size": 8, "mtime": 0,
        "sha256": "77f44b9024fd19a6674a62d98939f4e7f1b77f64eac4c7559414c46bdaec494c",
    }  # fmt: skip
    assert lines["etc/alias"]["target"] == "/etc/motd"


def test_without_an_export_the_check_says_so(small: ImageIdentity) -> None:
    assert check_rootfs(small) == ["small:1 has not been exported"]
