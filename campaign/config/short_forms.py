"""What a campaign file writes short, written where it takes effect: ``without``, one number of repetitions,
``overrides``, and the defaults that follow from other keys."""

from __future__ import annotations

from actors.environments import registry
from actors.types import Environment
from campaign.config.yaml_nodes import Node, Problem, instead

ARM = ("name", "description", "kind", "image", "engine_options")
"""What makes an arm the arm it is: no option that a host could refuse."""


def without(keys: dict[str, Node], problems: list[Problem]) -> None:
    """Takes the options named in ``without`` out of every environment, and says so in its description."""
    dropped, arms = keys.get("without"), keys.get("environments")
    if dropped is None or arms is None or not isinstance(dropped.value, list) or not isinstance(arms.value, list):
        return
    options = [name for name in Environment.model_fields if name not in ARM]
    found: list[Node] = arms.value
    for item in dropped.value:
        if not isinstance(item.value, str):
            continue  # the schema says so
        option, _, inner = item.value.partition(".")
        if option not in options:
            what = f"'{option}' is not an option of an environment"
            problems.append(item.problem(what, instead(option, options, f"Options are {', '.join(options)}.")))
        elif not any(_has(arm, option, inner) for arm in found):
            problems.append(item.problem(f"no environment here sets {item.value}", "Take it off the list."))
        else:
            found = [_drop(arm, option, inner) if _has(arm, option, inner) else arm for arm in found]
    keys["environments"] = arms.with_value(found)


def _has(arm: Node, option: str, inner: str) -> bool:
    node = arm.child(option)
    return node is not None and (not inner or node.child(inner) is not None)


def _drop(arm: Node, option: str, inner: str) -> Node:
    assert isinstance(arm.value, dict)
    keys = dict(arm.value)
    if inner:
        node = keys[option]
        assert isinstance(node.value, dict)
        keys[option] = node.with_value({key: value for key, value in node.value.items() if key != inner})
    else:
        del keys[option]
    what = f"{option}.{inner}" if inner else option
    description = keys.get("description", Node("", arm.file, arm.line, f"{arm.key}.description"))
    said_before = "here without" in str(description.value)
    text = f"{description.value}, {what}" if said_before else f"{description.value}; here without {what}"
    keys["description"] = description.with_value(text.lstrip("; "))
    return arm.with_value(keys)


def repetitions(keys: dict[str, Node]) -> None:
    """One number for all models becomes one number each."""
    given, models = keys.get("repetitions"), keys.get("models")
    if given is None or isinstance(given.value, dict):
        return
    entries = models.value if models is not None and isinstance(models.value, list) else []
    names = [node.value for model in entries if (node := model.child("name")) and isinstance(node.value, str)]
    # Without a model to name it after, the number is still looked at.
    keys["repetitions"] = given.with_value(dict.fromkeys(names or ["every model"], given))


def overrides(keys: dict[str, Node], problems: list[Problem]) -> None:
    """Puts the repetitions and batch sizes of ``overrides`` where they take effect."""
    changes, models, counts = keys.get("overrides"), keys.get("models"), keys.get("repetitions")
    if changes is None or not isinstance(changes.value, dict) or models is None or not isinstance(models.value, list):
        return
    names = [str(node.value) for model in models.value if (node := model.child("name"))]
    for name, change in changes.value.items():
        if name not in names:
            what = f"'{name}' is not among the models"
            problems.append(change.problem(what, instead(name, names, f"Models are {', '.join(names)}.")))
    keys["models"] = models.with_value([_with_batch(model, changes) for model in models.value])
    if counts is not None and isinstance(counts.value, dict):
        own = {name: node for name, change in changes.value.items() if (node := change.child("repetitions"))}
        keys["repetitions"] = counts.with_value({**counts.value, **own})


def _with_batch(model: Node, changes: Node) -> Node:
    name = model.child("name")
    change = changes.child(name.value) if name is not None and isinstance(name.value, str) else None
    batch = change.child("batch_size") if change is not None else None
    if batch is None or not isinstance(model.value, dict):
        return model
    # What is plausible was said of the entry's own batch size.
    kept = {key: node for key, node in model.value.items() if key != "expected_tok_s"}
    return model.with_value({**kept, "batch_size": batch})


def _is_no_container(kind: object) -> bool:
    known = registry.kinds().get(kind) if isinstance(kind, str) else None
    return known is not None and not known.is_container


def defaults(keys: dict[str, Node]) -> None:
    """Reference and order, which follow from the environments."""
    arms = keys.get("environments")
    if arms is None or not isinstance(arms.value, list) or not arms.value:
        return
    plain = [arm for arm in arms.value if (node := arm.child("kind")) and _is_no_container(node.value)]
    first = (plain or arms.value)[0].child("name")
    if "reference" not in keys and first is not None:
        keys["reference"] = Node(first.value, arms.file, arms.line, "reference")
    if "options" not in keys and (base := keys.get("baseline")) is not None and base.value is not None:
        roles = {node.value for key in ("reference", "baseline") if (node := keys.get(key)) is not None}
        rest = [name for arm in arms.value if (name := arm.child("name")) is not None and name.value not in roles]
        keys["options"] = Node(rest, base.file, base.line, "options")
    if "order" not in keys:
        keys["order"] = Node("alternate" if len(arms.value) <= 2 else "williams", arms.file, arms.line, "order")
