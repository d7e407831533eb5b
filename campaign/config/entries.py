"""What no schema says of a model, an arm, a workload or an image: values that contradict each other,
or the campaign."""

from __future__ import annotations

import re
from collections.abc import Iterator

from actors.engines.registry import engines
from actors.environments import EVERY_KIND, registry
from actors.types import Environment, Image, Model, Workload
from campaign.config.schema import Campaign
from campaign.config.words import locate
from campaign.config.yaml_nodes import Node, Problem, either, instead

MAX_SECONDS = 30 * 86400.0
INT32 = 2**31 - 1
SIZE = re.compile(r"^[0-9]+(\.[0-9]+)?[bkmgBKMG]?$")
CPUS = re.compile(r"^(performance|efficiency|[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)$")


def image(asked: Image, node: Node) -> Iterator[Problem]:
    """Of the campaign's image, or an arm's."""
    if asked.source != "local" and asked.reference is None:
        remedy = "Add `reference: name:tag`." if asked.source == "registry" else "Add `reference: PATH`."
        yield node.problem(f"source {asked.source} needs a reference", remedy)
    if asked.source == "local" and asked.reference is not None:
        what = "a local image is built here and has no reference to fetch"
        yield (node.child("reference") or node).problem(what, "Leave it out, or set source: registry.")


def model(campaign: Campaign, model: Model, node: Node, mention: Node) -> Iterator[Problem]:
    """Of a model, whose definition is ``node`` and which the campaign's file names at ``mention``."""
    if campaign.engine not in model.engines:
        what = f"{model.name} cannot run on {campaign.engine}, only on {either(list(model.engines))}"
        yield mention.problem(what, "Choose another model or engine.")
    weights = [model.random_weights is not None, model.path is not None, model.huggingface_id is not None]
    if not any(weights):
        yield node.problem(f"{model.name} has no weights", "Add random_weights, path or huggingface_id.")
    if model.random_weights is not None and model.path is not None:
        yield node.problem(f"{model.name} has both random_weights and a path", "Keep one of them.")
    shape = model.random_weights
    if shape is not None and (shape.hidden_size % shape.heads or shape.heads % shape.kv_heads):
        what = "hidden_size must be a multiple of heads, and heads of kv_heads"
        got = f"got {shape.hidden_size}, {shape.heads}, {shape.kv_heads}"
        yield (node.child("random_weights") or node).problem(f"{what}, {got}", "Change the numbers to divide.")
    if model.batch_size > INT32:
        yield (node.child("batch_size") or node).problem(f"must be at most {INT32}", "Use a smaller number.")


def environment(campaign: Campaign, environment: Environment, node: Node, mention: Node) -> Iterator[Problem]:
    """Of an arm, whose definition is ``node`` and which the campaign's file names at ``mention``."""
    yield from _of_another_kind(environment, node)
    if environment.privileged and not campaign.allow_privileged:
        what = f"{environment.name} is privileged: it can change this machine"
        yield mention.problem(what, "If that is meant, set allow_privileged: true in the campaign.")
    yield from _sizes(environment, node)
    yield from _inside(environment, node)
    yield from _software(environment, node)
    if environment.gpu.by == "devices" and not environment.gpu.devices:
        yield _key(node, "gpu").problem("by: devices names no device", "Add `devices: [/dev/nvidia0, …]`.")


def _key(node: Node, name: str) -> Node:
    return node.child(name) or node


def _of_another_kind(environment: Environment, node: Node) -> Iterator[Problem]:
    """Options that the arm's kind does not have."""
    means = EVERY_KIND | registry.kind(environment.kind).takes
    for name, field in Environment.model_fields.items():
        if name not in means and getattr(environment, name) != field.get_default():
            takers = [each.name for each in registry.kinds().values() if name in each.takes]
            what = f"{environment.kind} has no such namespace or cgroup, {name} is for kind: {either(takers)}"
            yield _key(node, name).problem(what, "Take it out, or change the kind.")


def _sizes(environment: Environment, node: Node) -> Iterator[Problem]:
    """Memory, CPUs and limits."""
    for name in ("shm_size", "memory"):
        size = getattr(environment, name)
        if size is not None and not SIZE.match(size):
            remedy = "Write it like 32g."
            if name == "memory":
                remedy = "Write it like 32g; leave it out for no limit, which is Docker's default."
            yield _key(node, name).problem(f"'{size}' is not a size", remedy)
    if environment.cpuset is not None and not _is_cpu_list(environment.cpuset):
        remedy = "Write it like 0-4,10-14, or performance, or efficiency."
        yield _key(node, "cpuset").problem(f"'{environment.cpuset}' is not a list of CPUs", remedy)
    for name, value in environment.ulimits.items():
        if value < -1:
            yield locate(node, ("ulimits", name))[0].problem(f"must be -1 or more, got {value}", "-1 is unlimited.")


def _inside(environment: Environment, node: Node) -> Iterator[Problem]:
    """Mounts and variables."""
    for i, mount in enumerate(environment.mounts):
        if not mount.target.startswith("/") or ".." in mount.target.split("/"):
            where = locate(node, ("mounts", i))[0]
            yield where.problem(f"target '{mount.target}' must be an absolute path", "Begin it with /.")
    for name in environment.variables:
        if not name or "=" in name or "\0" in name:
            where = locate(node, ("variables", name))[0]
            yield where.problem(f"'{name}' cannot be a variable's name", "Use letters, digits and underscores.")


def _software(environment: Environment, node: Node) -> Iterator[Problem]:
    """Image and engine options."""
    if environment.image is not None and not registry.kind(environment.kind).needs_image:
        what = f"{environment.kind} runs what is installed on this machine, not an image"
        yield _key(node, "image").problem(what, "Take it out, or use kind: native-chroot.")
    elif environment.image is not None:
        yield from image(environment.image, _key(node, "image"))
    for name in environment.engine_options:
        if name not in engines():
            where = locate(node, ("engine_options", name))[0]
            known = instead(name, engines(), f"Engines are {either(list(engines()))}.")
            yield where.problem(f"no engine is called '{name}'", known)


def _is_cpu_list(text: str) -> bool:
    if not CPUS.match(text):
        return False
    ranges = [part.split("-") for part in text.split(",") if "-" in part]
    return all(int(low) <= int(high) for low, high in ranges)


def workload(workload: Workload, node: Node) -> Iterator[Problem]:
    """Of a workload."""
    for name in ("requests", "input_tokens", "output_tokens", "concurrency", "warmup_requests"):
        if (getattr(workload, name) or 0) > INT32:
            yield (node.child(name) or node).problem(f"must be at most {INT32}", "Use a smaller number.")
    if workload.concurrency is not None and workload.concurrency > workload.requests:
        what = f"{workload.concurrency} requests in flight, but only {workload.requests} in all"
        yield (node.child("concurrency") or node).problem(what, f"Use at most {workload.requests}.")
    if workload.timeout_s > MAX_SECONDS:
        yield (node.child("timeout_s") or node).problem("is more than 30 days", "Use fewer seconds.")
