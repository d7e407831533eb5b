"""YAML in which every value knows its file, line and dotted key.

Read by YAML 1.2's core schema, not 1.1's: ``on`` and ``no`` are text, ``1e3`` is a number, ``1:30`` is not one, and
dates are text. Beyond YAML's own rules a key may stand once in a mapping, numbers are finite, and keys are text.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from campaign.errors import EXIT_CONFIG, CampaignError

Scalar = None | bool | int | float | str
MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_INTEGER = 2**63 - 1


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a file. ``line`` is 1-based; 0 where the file as a whole is meant."""

    file: str
    line: int
    key: str
    what: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.key, f"{self.what}. {self.remedy}") if part)


class ConfigError(CampaignError):
    """A configuration that cannot be used. ``problems`` holds everything found, in order of appearance."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True)
class Node:
    """A value and where it stands. ``line`` is that of the key in a mapping, of the item in a list."""

    value: Scalar | dict[str, Node] | list[Node]
    file: str
    line: int
    key: str

    def problem(self, what: str, remedy: str) -> Problem:
        return Problem(self.file, self.line, self.key, what, remedy)

    def child(self, part: str | int) -> Node | None:
        if isinstance(self.value, dict) and isinstance(part, str):
            return self.value.get(part)
        if isinstance(self.value, list) and isinstance(part, int) and part < len(self.value):
            return self.value[part]
        return None

    def with_value(self, value: Scalar | dict[str, Node] | list[Node]) -> Node:
        return replace(self, value=value)

    def plain(self) -> object:
        """The value without its marks; lists become tuples, as the frozen types want them."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return tuple(node.plain() for node in self.value)
        return self.value


def said(value: object) -> str:
    """A value as a message quotes it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text '{value if len(value) <= 40 else value[:37] + '…'}'"
    if isinstance(value, int | float):
        text = str(value)
        return text if len(text) <= 24 else f"a number of {len(text)} digits"
    return "a mapping" if isinstance(value, dict) else "a list"


class _Loader(yaml.SafeLoader):
    """Resolves plain scalars by the core schema of YAML 1.2 (section 10.3.2)."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own protocol)


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+0123456789."),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def instead(wrong: str, known: Iterable[str], otherwise: str) -> str:
    """A remedy: the known word that is near, where one is."""
    close = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'?" if close else otherwise


def either(words: list[str]) -> str:
    """``a, b or c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def read(path: Path) -> Node:
    """The file as a tree. Raises ConfigError with every problem that the file has as YAML."""
    file = str(path)
    text = _text(path, file)
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = (error.problem or "cannot be read").replace("\\t", "tab")
        if "tab" in what or "'\t'" in what:
            what, remedy = "a tab where YAML wants spaces", "Indent with spaces"
        elif "single document" in (error.context or "") + what:
            what, remedy = "more than one YAML document", "Keep one and remove the line '---'"
        else:
            what, remedy = f"not valid YAML: {what}", "Mend the line, or the one before it"
        raise ConfigError([Problem(file, mark.line + 1 if mark else 0, "", what, f"{remedy}.")]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            [Problem(file, line, "", f"a control character (code {error.character})", "Remove it.")]
        ) from None
    except RecursionError:
        raise ConfigError([_too_deep(file, 0)]) from None
    if root is None:
        raise ConfigError([Problem(file, 1, "", "is empty", "A campaign needs at least name, engine, models.")])
    problems: list[Problem] = []
    node = _node(root, file, root.start_mark.line + 1, "", problems, set())
    if problems:
        raise ConfigError(problems)
    return node


def _text(path: Path, file: str) -> str:
    try:
        if path.is_dir():
            raise ConfigError([Problem(file, 0, "", "is a folder, not a file", "Name the YAML file in it.")])
        if path.exists() and not path.is_file():
            raise ConfigError([Problem(file, 0, "", "is not a regular file", "Name a YAML file.")])
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError([Problem(file, 0, "", "is larger than 1 MiB", "A configuration is a page or two.")])
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError([Problem(file, 0, "", "does not exist", _nearby(path))]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError([Problem(file, 0, "", f"cannot be read: {reason}", "Check path and rights.")]) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{raw[error.start]:02x} is not UTF-8 text"
        raise ConfigError([Problem(file, line, "", what, "Save the file as UTF-8.")]) from None


def _nearby(path: Path) -> str:
    try:
        there = sorted(p.name for p in path.parent.glob("*.y*ml"))
    except OSError:
        there = []
    return f"{path.parent} has {', '.join(there[:8])}." if there else "Check the path."


def _too_deep(file: str, line: int) -> Problem:
    return Problem(file, line, "", f"nested deeper than {MAX_DEPTH} levels", "No key needs that: flatten it.")


def _node(
    raw: yaml.Node, file: str, line: int, key: str, problems: list[Problem], seen: set[int], depth: int = 0
) -> Node:
    """``seen`` are the YAML nodes met so far: an alias (``*name``) leads to one of them again. Aliases are refused,
    because they can contain themselves, or unfold a short file without end."""
    if id(raw) in seen:
        what, remedy = "an alias (*name)", "Write the value out; environments can use extends."
        problems.append(Problem(file, line, key, what, remedy))
        return Node(None, file, line, key)
    if depth > MAX_DEPTH:
        problems.append(_too_deep(file, line))
        return Node(None, file, line, key)
    seen.add(id(raw))
    if isinstance(raw, yaml.MappingNode):
        return Node(dict(_items(raw, file, key, problems, seen, depth)), file, line, key)
    if isinstance(raw, yaml.SequenceNode):
        items = [
            # An alias is marked where its anchor stands, which is not where the mistake is.
            _node(
                item,
                file,
                line if id(item) in seen else item.start_mark.line + 1,
                f"{key}[{i}]",
                problems,
                seen,
                depth + 1,
            )
            for i, item in enumerate(raw.value)
        ]
        return Node(items, file, line, key)
    return Node(_scalar(raw, Problem(file, line, key, "", ""), problems), file, line, key)


def _items(
    raw: yaml.MappingNode, file: str, key: str, problems: list[Problem], seen: set[int], depth: int
) -> Iterator[tuple[str, Node]]:
    first: dict[str, int] = {}
    for key_node, value_node in raw.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            problems.append(Problem(file, line, key, "a key that is itself a list or mapping", "Keys are words."))
            continue
        name = str(key_node.value)
        dotted = f"{key}.{name}" if key else name
        if name in first:
            what = f"stands twice, first in line {first[name]}"
            problems.append(Problem(file, line, dotted, what, "Keep one of the two."))
            continue
        first[name] = line
        yield name, _node(value_node, file, line, dotted, problems, seen, depth + 1)


def _scalar(raw: yaml.Node, here: Problem, problems: list[Problem]) -> Scalar:
    text = str(raw.value)
    match raw.tag.rpartition(":")[2]:
        case "str":
            return text
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            # The length first: Python refuses to read integers of more than 4300 digits.
            if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
                what = f"must be at most 2**63 - 1, got a number of {len(text)} digits"
                problems.append(replace(here, what=what, remedy="Write a smaller number."))
                return None
            return int(text)
        case "float":
            number = float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
            if not math.isfinite(number):
                what = f"must be a finite number, got {text}"
                problems.append(replace(here, what=what, remedy="Write a number, or leave the key out."))
                return None
            return number
        case _:
            what = f"the tag {raw.tag} is not allowed"
            problems.append(replace(here, what=what, remedy="Write the plain value."))
            return None
