"""A refusal of Docker, the NVIDIA toolkit or a registry is told with its cause and with what helps,
and with nothing that does not."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.environments import refusals

TASK = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: "
)
HOOK = TASK + (
    "error during container init: error running prestart hook #0: exit status 1, stdout: , stderr: Auto-detected "
    "mode as 'legacy'\nnvidia-container-cli: "
)
PULL = "Error response from daemon: "
CASES = [
    # message, word of the cause, words of the remedy
    ('could not select device driver "" with capabilities: [[gpu]]', "Toolkit",
     ["nvidia-ctk runtime configure", "restart docker"]),
    ('could not select device driver "nvidia" with capabilities: [[gpu]]', "Toolkit", ["nvidia-ctk runtime configure"]),
    ("unknown or invalid runtime name: nvidia", "runtime", ["nvidia-ctk runtime configure"]),
    ('Error response from daemon: could not select device driver "cdi" with capabilities: []', "CDI",
     ["daemon.json", '{"cdi": true}']),
    (TASK + "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all", "nvidia.com/gpu=all",
     ["nvidia-ctk cdi generate"]),
    ("failed to inject CDI devices: unresolvable CDI devices nvidia.com/gpu=7: unknown", "nvidia.com/gpu=7",
     ["cdi generate"]),
    (HOOK + "requirement error: unsatisfied condition: cuda>=13.0, please update your driver to a newer version, or "
     "use an earlier cuda container: unknown", "cuda>=13.0", ["Update the host's driver", "older", "nvcr.io/x:1"]),
    (HOOK + "requirement error: unsatisfied condition: driver>=590, please update", "driver>=590", ["older"]),
    (HOOK + "initialization error: nvml error: driver/library version mismatch: unknown", "two versions", ["Reboot"]),
    (HOOK + "initialization error: nvml error: driver not loaded: unknown", "does not answer",
     ["nvidia-smi", "modprobe nvidia"]),
    (HOOK + "initialization error: driver rpc error: timed out: unknown", "does not answer", ["nvidia-smi"]),
    (HOOK + "initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object file: "
        "no such file or directory: unknown",
     "libnvidia-ml.so.1", ["snap", "ldconfig -p"]),
    (HOOK + "device error: 3: unknown device: unknown", "no such GPU", ["nvidia-smi -L"]),
    ("crun: cgroups in hybrid mode not supported, drop all controllers from cgroupv2: OCI runtime error",
     "version 1 and 2", ["apt-get install runc", 'runtime = "runc"', "containers.conf"]),
    (HOOK + "container error: cgroup subsystem devices not found: unknown", "control groups", ["1.8"]),
    (HOOK + "mount error: failed to add device rules: unable to find any existing device filters attached to the "
     "cgroup: bpf_prog_query(BPF_CGROUP_DEVICE) failed: operation not permitted: unknown", "control groups",
         ["no-cgroups"]),
    (HOOK + "mount error: file creation failed: /var/lib/docker/overlay2/x/merged/usr/lib/libnvidia-ml.so.1: "
        "file exists: unknown",
     "could not put the driver", ["another image"]),
    (HOOK + "permission error: capability change failed: operation not permitted", "toolkit fails", ["nvidia-smi"]),
    (TASK + 'error during container init: error running hook: exec: "nvidia-container-runtime-hook": '
        'executable file not found in $PATH',
     "missing or broken", ["nvidia-container-toolkit"]),
    ("nvidia-container-runtime did not terminate successfully: exit status 2: unknown", "missing or broken",
     ["nvidia-ctk"]),
    (TASK + "error running createContainer hook #1: exit status 1, stderr: flag provided but not defined: "
        "-host-cuda-version",
     "another version", ["cdi generate"]),
    ('error gathering device information while adding custom device "/dev/nvidia0": no such file or directory',
     "/dev/nvidia0", ["ls /dev/nvidia"]),
    (TASK + "exec /usr/bin/python3: exec format error: unknown", "processor architecture", ["linux/", "tag"]),
    ("standard_init_linux.go:228: exec user process caused: exec format error", "processor architecture", ["linux/"]),
    (("image with reference x was found but its platform (linux/amd64) does not match the specified platform: "
        "wanted linux/arm64"),
     "architecture", ["linux/"]),
    ("no matching manifest for linux/arm64/v8 in the manifest list entries", "no build",
     ["tag", "docker manifest inspect nvcr.io/x:1"]),
    ("no match for platform in manifest: not found", "no build", ["tag"]),
    (TASK + "error setting rlimits for ready process: error setting rlimit type 8: operation not permitted: unknown",
     "limit", ["root"]),
    ('cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"', ".slice", ["bench.slice"]),
    ("cgroups: cgroup mountpoint does not exist: unknown", "control group", ["Restart Docker"]),
    (TASK + "unable to apply cgroup configuration: cannot enter cgroupv2 \"/sys/fs/cgroup/docker\" with domain "
     "controllers -- it is in an invalid state", "control group", ["Restart Docker"]),
    ("Minimum memory limit allowed is 6MB", "memory limit", ["Docker notation"]),
    ("Requested CPUs are not available - requested 0-99, available: 0-19", "processors", ["lscpu"]),
    ("privileged mode is incompatible with user namespaces.  You must run the container in the host namespace",
     "user namespaces", ["userns-remap"]),
    ("cannot share the host's network namespace when user namespaces are enabled", "user namespaces", ["userns-remap"]),
    (TASK + "unable to apply apparmor profile: apparmor failed to apply profile: write "
        "/proc/self/attr/apparmor/exec: no such file", "confinement", ["apparmor"]),
    (TASK + 'error during container init: error mounting "proc" to rootfs at "/proc": mount proc:/proc: '
        'operation not permitted', "right", ["as root"]),
    ('invalid mount config for type "bind": bind source path does not exist: /srv/x', "/srv/x", ["snap", "/home"]),
    ('error mounting "/srv/x" to rootfs at "/in": mkdir /srv/x: read-only file system', "cannot be mounted", ["snap"]),
    (("driver failed programming external connectivity on endpoint x: Error starting userland proxy: listen tcp4 "
        "0.0.0.0:8000: bind: address already in use"),
     "uses the port", ["ss -ltnp"]),
    (("failed to create endpoint x on network bridge: iptables failed: iptables --wait -t nat: "
        "No chain/target/match by that name."), "network", ["systemctl restart docker"]),
    (("toomanyrequests: You have reached your unauthenticated pull rate limit. "
        "https://www.docker.com/increase-rate-limit"), "limits how often", ["Wait", "docker login"]),
    ('Head "https://nvcr.io/v2/x/manifests/1": unauthorized: authentication required', "does not let",
     ["docker login", "oauthtoken"]),
    (("pull access denied for x, repository does not exist or may require 'docker login': denied: "
        "requested access to the resource is denied"),
     "does not let", ["docker login", "name"]),
    ("failed to resolve reference \"nvcr.io/nvidia/x:1\": unexpected status from HEAD request: 403 Forbidden",
     "does not let", ["docker login"]),
    ("manifest for nvcr.io/x:1 not found: manifest unknown: manifest unknown", "no such tag",
     ["catalog.ngc.nvidia.com"]),
    ("failed to resolve reference \"docker.io/library/x:1\": docker.io/library/x:1: not found", "no such tag", ["tag"]),
    ("write /var/lib/docker/tmp/GetImageBlob1: no space left on device", "full",
     ["docker system prune", "{{.DockerRootDir}}"]),
    ('Get "https://r/v2/": x509: certificate signed by unknown authority', "certificate", ["clock"]),
    ('Get "https://r:5000/v2/": http: server gave HTTP response to HTTPS client', "TLS", ["insecure-registries"]),
    ('Get "https://nvcr.io/v2/": dial tcp: lookup nvcr.io on 127.0.0.53:53: server misbehaving', "not reached",
     ["network", "docker save"]),
    ('Get "https://nvcr.io/v2/": dial tcp 1.2.3.4:443: connect: network is unreachable', "not reached",
     ["docker save"]),
    ('Get "https://nvcr.io/v2/": net/http: TLS handshake timeout', "not reached", ["proxy"]),
    ("error pulling image configuration: download failed after attempts=6: dial tcp: lookup x: no such host",
     "not reached", ["network"]),
    ("received unexpected HTTP status: 503 Service Unavailable", "not reached", ["same command again"]),
    ("filesystem layer verification failed for digest sha256:abc", "broken or incomplete", ["same command again"]),
    ("unexpected EOF", "broken or incomplete", ["same command again"]),
]  # fmt: skip


@pytest.mark.parametrize(("message", "cause", "remedies"), CASES)
def test_a_refusal_has_its_cause_and_its_remedy(message, cause, remedies):
    known = refusals.of(message, "nvcr.io/x:1")
    assert known is not None and cause in known.cause
    for remedy in remedies:
        assert remedy in known.remedy
    first, _, rest = refusals.told(message, "nvcr.io/x:1").partition("\n")
    assert known.cause in first and rest == known.remedy, "the remedy stands on the lines after the first, whole"
    assert " ".join(message.split()) in first, "the message itself is kept"


def test_every_rule_has_a_message():
    used = {
        next(pattern for pattern, _ in refusals.TABLE if re.search(pattern, message, re.IGNORECASE))
        for message, _, _ in CASES
    }
    assert used == {pattern for pattern, _ in refusals.TABLE}


@pytest.mark.parametrize(
    "message",
    [message for message, cause, _ in CASES if cause in ("not reached", "no build", "full", "broken or incomplete")],
)
def test_logging_in_is_no_remedy_where_it_cannot_help(message):
    known = refusals.of(message)
    assert known is not None and "docker login" not in known.remedy


@given(st.text(string.ascii_letters + string.punctuation + " \n{}0", max_size=80))
def test_what_is_not_known_stays_as_it_is(message):
    known = refusals.of(message, "{x}")
    assert refusals.told(message, "{x}") == message if known is None else known.remedy
