"""What stands behind a refusal of the Docker engine, the NVIDIA toolkit or a registry, and what to do about it.

Their messages say what failed, seldom what is wrong. One table of their words, most specific first, gives cause and
remedy; whoever passes such a message on asks :func:`of`. Sources of the words: moby, runc, containerd,
libnvidia-container, nvidia-container-toolkit.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from dataclasses import dataclass

from actors.sensors import gpus

Find = re.Match[str]


@dataclass(frozen=True)
class Refusal:
    cause: str
    remedy: str


Make = Callable[[Find, str], Refusal]


def _is(cause: str, remedy: str) -> Make:
    """``{1}`` is the first group of the pattern, ``{image}`` the image's name."""

    def make(match: Find, image: str) -> Refusal:
        groups = [group or "" for group in match.groups()]
        return Refusal(cause.format(match[0], *groups, image=image), remedy.format(match[0], *groups, image=image))

    return make


HERE = {"aarch64": "arm64", "x86_64": "amd64"}.get(platform.machine(), platform.machine())
"""Docker's name of this machine's processor architecture."""
TOOLKIT = (
    "Install the NVIDIA Container Toolkit (sudo apt-get install nvidia-container-toolkit), then\n"
    "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
)
CDI = (
    "Write the description of the GPUs anew: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml\n"
    '(`nvidia-ctk cdi list` shows the names; Docker before 28.3 also wants "features": {{"cdi": '
    "true}} in /etc/docker/daemon.json)."
)
DRIVER = (
    "Ask `nvidia-smi` on the host first. If it fails too: sudo modprobe nvidia, or reboot; "
    "a driver that was updated since the last boot\n"
    "needs a reboot (its library and its kernel module must be of one version)."
)
OFFLINE = (
    "Check this machine's network, name resolution and proxy (Docker's own: systemctl show docker --property "
    "Environment), then run the\n"
    "same command again: layers that are here already are kept. Without a network: "
    "docker save IMAGE -o FILE on a machine that has it, and\n"
    "image: {{source: archive, reference: FILE}} in the campaign."
)
LOGIN = (
    "Log in to its registry with an account that may read it: docker login REGISTRY (NVIDIA's: docker login nvcr.io, "
    "user $oauthtoken, an\n"
    "NGC API key for password), as the user that runs the campaign: sudo reads root's login. "
    "Accept the image's licence where it has one."
)
ARCHITECTURE = (
    f"This machine's processor is {HERE} ({platform.machine()}): name an image, or a tag, that is built for "
    f"linux/{HERE} in the campaign\n"
    "(`docker manifest inspect {image}` lists the platforms of a tag; "
    "on a DGX Spark take NVIDIA's arm64 or multi-architecture tags)."
)


def _unsatisfied(match: Find, image: str) -> Refusal:
    """``unsatisfied condition: cuda>=13.0``: what the image wants against what the driver here gives."""
    wants = match[1]
    has = driver_versions()
    return Refusal(
        f"the image wants {wants}, the driver of this host has {has}",
        f"Update the host's driver to one that has {wants} (`nvidia-smi` shows in its head what it has, now {has}) "
        "and reboot, or name an older\n"
        f"image in the campaign than {image}, one for the CUDA version of this driver.",
    )


def driver_versions() -> str:
    """Of this host's driver: its own and the newest CUDA that it serves."""
    nvml = gpus.load()
    try:
        cuda = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
        return f"CUDA {cuda // 1000}.{cuda % 1000 // 10} (driver {gpus.text(nvml.nvmlSystemGetDriverVersion())})"
    except Exception:  # no driver, or one too old to tell
        return "an older one, which NVML does not tell here"


TABLE: tuple[tuple[str, Make], ...] = (
    # --- the NVIDIA toolkit
    (r"could not select device driver \"?(\w*)\"? ?with capabilities: \[\[gpu",
     _is("Docker knows no NVIDIA Container Toolkit", TOOLKIT)),
    (r"unknown or invalid runtime name: nvidia|runtime \"?nvidia\"? not found|Unknown runtime specified nvidia",
     _is("Docker knows no runtime of the name nvidia", TOOLKIT)),
    ((r"could not select device driver \"?cdi\"?|CDI (?:support|feature|mode)?.{0,30}(?:not|dis)\s?(?:enabled|abled)"
        r"|cdi driver.{0,30}not"),
     _is("Docker's support of CDI is off", CDI)),
    (r"unresolvable CDI devices? [^\s:;]+(?:, ?[^\s:;]+)*|(?:CDI device injection "
        r"failed|failed to inject (?:CDI|devices)|"
     r"cdi: [^\n]*not found)(?![^\n]*unresolvable)",
     _is("no CDI description fits what is asked for ({0})", CDI)),
    (r"unsatisfied condition: ((?:cuda|driver|brand|arch)\s*[><=]+\s*[\w.]+)[^\n]*",
     _unsatisfied),
    (r"nvml error: driver/library version mismatch|Driver/library version mismatch",
     _is("the driver's library and its kernel module are of two versions: it was updated since the last boot",
         "Reboot.\n" + DRIVER)),
    ((r"nvml error: driver not loaded|driver not loaded|nvidia.* kernel module.*not "
        r"(?:loaded|found)|(?:nvml|driver rpc) error: [^\n]*"),
     _is("the NVIDIA driver does not answer ({0})", DRIVER)),
    (r"load library failed: [^\s:]+|load library failed",
     _is("the NVIDIA driver's libraries are not found on this host ({0})",
         "Install the driver with its libraries (`nvidia-smi` and `ldconfig -p | grep libnvidia-ml` must answer on "
         "the host). With Docker from snap\n"
         "they are hidden from it: sudo snap remove docker, then install Docker's own package.")),
    ((r"nvidia-container-cli: device error: ([^\n:]*): unknown device|unknown device|device error: [^\n]*"
        r"|invalid device id|no such device: ([^\n]*)"),
     _is("there is no such GPU here ({0})",
         "`nvidia-smi -L` lists indices and UUIDs; name one of them under gpu.devices of the arm, or none.")),
    (r"nvidia-container-cli: (?:mount|container) error: [^\n]*(?:cgroup|device cgroup)[^\n]*|no cgroup mount"
        r"|failed to get device cgroup[^\n]*|"
     r"bpf_prog_query[^\n]*|cgroup subsystem devices not found",
     _is("the NVIDIA toolkit does not find its way in this host's control groups ({0})",
         "Update it (sudo apt-get install --only-upgrade nvidia-container-toolkit libnvidia-container1): cgroup v2 "
         "needs 1.8 or later. Rootless\n"
         "Docker cannot do it at all: set no-cgroups = true in /etc/nvidia-container-runtime/config.toml, "
         "or use the system's Docker.")),
    ((r"nvidia-container-cli: mount error: [^\n]*|nvidia-container-cli: container error: [^\n]*"
        r"|nvidia-container-cli: ldcache error: [^\n]*"),
     _is("the NVIDIA toolkit could not put the driver into the container ({0})",
         "Update toolkit and driver together, and compare `nvidia-container-cli info` on the host. "
         "Where the image itself holds driver files\n"
         "(libcuda.so in its library folder), use another image.")),
    (r"nvidia-container-cli: permission error[^\n]*|nvidia-container-cli: [^\n]*",
     _is("the NVIDIA toolkit fails ({0})",
         "Try it alone: docker run --rm --gpus all IMAGE nvidia-smi. If that fails too, update driver and toolkit:\n"
         + TOOLKIT)),
    (r"exec: \"?(nvidia-container-runtime[\w-]*)\"?: executable file not "
        r"found|(nvidia-(?:container-runtime|cdi|ctk)[\w-]*)[^\n]{0,60}"
     r"(?:no such file or directory|executable file not found)|nvidia-container-runtime did not terminate",
     _is("Docker is set up for the NVIDIA toolkit, whose program is missing or broken", TOOLKIT)),
    (r"flag provided but not defined: -([\w-]+)",
     _is("a CDI description is from another version of the NVIDIA toolkit than its hooks (option -{1})", CDI)),
    (r"error gathering device information while adding custom device \"?([^\":]+)\"?: no such file or directory",
     _is("there is no device {1} on this host",
         "`ls /dev/nvidia*` lists what there is; mend gpu.devices of the arm, or load the driver (nvidia-smi).")),
    # --- the image and its programs
    (r"exec format error",
     _is("the image is built for another processor architecture", ARCHITECTURE)),
    ((r"(?:image|requested image)'s platform \((\S+?)\) "
        r"does not match|does not match the (?:specified|expected|detected host) platform"),
     _is("the image is built for another processor architecture ({1})", ARCHITECTURE)),
    (r"no matching manifest for ([\w/]+)|no match for platform in manifest|does not provide the specified platform|"
     r"no child with platform (\S+)|image operating system .* cannot be used",
     _is("its registry has no build of {image} for this machine's processor", ARCHITECTURE)),
    # --- limits and namespaces
    ((r"error setting rlimits?[^\n]*operation not permitted|setrlimit[^\n]*operation not permitted"
        r"|error setting rlimit type \d+[^\n]*"),
     _is("this Docker engine may not raise a limit (it is rootless, or in a container that has none to give)",
         "Run the campaign on the system's own Docker engine, as root.")),
    ((r"cgroup-parent for systemd cgroup should be a valid slice named as "
        r"\"xxx\.slice\"|invalid cgroup ?parent[^\n]*|valid slice"),
     _is("Docker uses the systemd cgroup driver, which wants a name that ends in .slice",
         "Set cgroup_parent: bench.slice in the arm.")),
    (r"crun: cgroups in hybrid mode not supported[^\n]*",
     _is("this host mounts control groups of version 1 and 2 side by side, which crun, Podman's runtime, cannot use",
         "Have Podman use runc: sudo apt-get install runc, and\n"
         'runtime = "runc" under [engine] in /etc/containers/containers.conf. Or boot with version 2 alone:\n'
         "systemd.unified_cgroup_hierarchy=1 on the kernel's command line.")),
    (r"cannot enter cgroupv2[^\n]*|failed to (?:apply|write)[^\n]*cgroup[^\n]*|cgroups?: cannot[^\n]*"
        r"|error (?:setting|applying) cgroup[^\n]*|"
     r"cgroup mountpoint does not exist|cannot find cgroup mount[^\n]*|runc create failed: [^\n]*cgroup[^\n]*",
     _is("the container's control group could not be made ({0})",
         "Restart Docker (sudo systemctl restart docker). If it stays: reboot; on a nested machine Docker needs a "
         "cgroup tree that it may write, and\n"
         "\"exec-opts\": [\"native.cgroupdriver=cgroupfs\"] in /etc/docker/daemon.json where systemd does not run.")),
    (r"Minimum memory limit allowed is (\S+)|Your kernel does not support memory limit[^\n]*",
     _is("the memory limit cannot be had ({0})",
         "Mend memory of the arm: Docker notation (64g); no limit is the default.")),
    (r"Requested CPUs are not available[^\n]*",
     _is("this machine has no such processors ({0})",
         "Mend cpuset of the arm: `lscpu -e` lists them; `performance` and `efficiency` fit every machine.")),
    (r"privileged mode is incompatible with user namespaces"
        r"|cannot share (?:the )?host'?s? [^\n]*user namespaces?[^\n]*|"
     r"host (?:network|ipc|pid)[^\n]*incompatible with user namespaces?[^\n]*",
     _is("Docker runs its containers in user namespaces, which exclude what the arm asks for ({0})",
         "Take \"userns-remap\" out of /etc/docker/daemon.json and restart Docker; "
         "or take the option out of every arm.")),
    ((r"(?:seccomp|apparmor)[^\n]*(?:not (?:supported|enabled)|failed|unable)[^\n]*|unable to (?:apply|load) "
        r"apparmor[^\n]*"),
     _is("the kernel refuses the container's confinement ({0})",
         "Install apparmor (sudo apt-get install apparmor) and restart Docker; or set seccomp: "
         "unconfined in every arm.")),
    ((r"/proc/sys[^\n]*permission denied|error (?:mounting|during container init)[^\n]*operation not permitted"
        r"|unshare[^\n]*operation not permitted"),
     _is("this Docker engine lacks a right that the arm needs ({0})",
         "It is rootless or runs inside a container: use the system's own Docker engine, as root.")),
    # --- mounts
    (r"bind source path does not exist: (\S+)|invalid mount config for type \"bind\"[^\n]*",
     _is("Docker does not see a folder that is to be mounted ({0})",
         "If the folder is there: Docker from snap sees home folders only, and one in a virtual machine or on "
         "another host its own files. Put the\n"
         "checkout below /home, or install Docker's own package (sudo snap remove docker; "
         "https://docs.docker.com/engine/install/).")),
    ((r"error mounting \"([^\"]+)\"[^\n]*(?:read-only file system|permission "
        r"denied|not a directory)[^\n]*|mounts denied[^\n]*"),
     _is("a folder cannot be mounted into the container ({0})",
         "Docker from snap sees home folders only: put the checkout below /home, or install Docker's own package. "
         "Where the image has a file in\n"
         "the place of a folder, change the mount's target in the arm.")),
    # --- network
    ((r"(?:listen|bind|driver failed programming)[^\n]*address already in use|port "
        r"is already allocated|Bind for \S+ failed"),
     _is("another program uses the port",
         "End it (sudo ss -ltnp shows which), or set network: none or host in the arm.")),
    (r"iptables[^\n]*(?:failed|No chain|not found|Permission denied)[^\n]*|failed to (?:create|set up) "
        r"(?:NAT|endpoint)[^\n]*|"
     r"could not find an available[^\n]*address pool[^\n]*|network bridge not found|failed to add the host[^\n]*",
     _is("Docker's default network is broken ({0})",
         "Restart the engine (sudo systemctl restart docker), which writes its firewall rules anew; or set network: "
         "none in the arm.")),
    # --- registries
    ((r"toomanyrequests[^\n]*|You have reached your (?:unauthenticated )?pull rate "
        r"limit[^\n]*|429 Too Many Requests|rate limit"),
     _is("the registry limits how often this address may pull",
         "Wait (an hour is usual) and run the same command again, or log in: "
         "a limit for accounts is higher (docker login).")),
    (r"no basic auth credentials|authentication required|unauthorized[^\n]*|401 Unauthorized|403 Forbidden"
        r"|denied: [^\n]*|insufficient_scope[^\n]*|"
     r"pull access denied[^\n]*|access to the resource is denied",
     _is("the registry does not let this user read {image}, or has no such image",
         "Compare the name and the tag with the registry's page.\n" + LOGIN)),
    (r"manifest unknown[^\n]*|manifest for (\S+) not found[^\n]*|not found: manifest[^\n]*|name unknown[^\n]*"
        r"|repository name not known[^\n]*|"
     r"failed to resolve reference[^\n]*: not found|repository \S+ not found[^\n]*|404 Not Found",
     _is("the registry has no {image}: there is no such tag, or it is gone",
         "Name a tag that it has (its page lists them; NVIDIA's: https://catalog.ngc.nvidia.com) in the campaign, "
         "best by digest (name@sha256:...),\n"
         "which never moves.")),
    (r"no space left on device",
     _is("the disk of Docker's data is full",
         "`docker system df` shows what takes it and `docker system prune` frees what nobody uses; "
         "`docker info --format '{{{{.DockerRootDir}}}}'` is the\n"
         "folder. An image of NVIDIA needs some 40 GB there, and as much again where it is exported for "
         "native-chroot.")),
    ((r"x509: [^\n]*|certificate (?:signed by unknown authority|has expired|is not yet valid)[^\n]*"
        r"|tls: failed to verify[^\n]*"),
     _is("the registry's certificate is not trusted ({0})",
         "Check this machine's clock (timedatectl) and, behind a proxy that looks into traffic, install its "
         "certificate\n(/etc/docker/certs.d/REGISTRY/ca.crt).")),
    (r"server gave HTTP response to HTTPS client",
     _is("the registry speaks no TLS",
         'Name it under "insecure-registries" in /etc/docker/daemon.json and restart Docker, '
         'if you trust that network.')),
    (r"server misbehaving|no such host|Temporary failure in name resolution|connection "
        r"refused|network is unreachable|no route to host|"
     r"i/o timeout|TLS handshake timeout|context deadline exceeded|Client\.Timeout "
     r"exceeded|connection reset by peer|proxyconnect[^\n]*|"
     r"(?:502|503|504) [A-Z][a-z]+[^\n]*",
     _is("the registry is not reached ({0})", OFFLINE)),
    (r"filesystem layer verification failed[^\n]*|unexpected EOF|failed to (?:copy|register layer|extract)[^\n]*"
        r"|error pulling image configuration[^\n]*|"
     r"short read[^\n]*|unexpected commit digest[^\n]*",
     _is("a layer came broken or incomplete ({0})",
         "Run the same command again: layers that are here already are kept. If it repeats, check the disk (dmesg) "
         "and the proxy.")),
)  # fmt: skip


def of(message: str, image: str = "IMAGE") -> Refusal | None:
    """Cause and remedy of the first rule whose words stand in ``message``; None where none does."""
    for pattern, make in TABLE:
        if match := re.search(pattern, message, re.IGNORECASE):
            return make(match, image)
    return None


def told(message: str, image: str = "IMAGE") -> str:
    """``message`` with cause in front and the remedy on the lines after it; as it is where nothing is known of it."""
    known = of(message, image)
    return message if known is None else f"{known.cause}: {' '.join(message.split())}\n{known.remedy}"
