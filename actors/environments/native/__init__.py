"""Processes of the host without a container: in a chroot of the image's files, or in the host's own userland."""

from __future__ import annotations

from actors.environments.native.kind import Native

NATIVE_CHROOT = Native("native-chroot", chroot=True)
NATIVE_HOST = Native("native-host", chroot=False)
