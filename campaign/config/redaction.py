"""Secrets never reach a results folder: results are published, and a token that a campaign was given is in no figure.

A variable, option or key counts as secret by its name (``HF_TOKEN``, ``AWS_SECRET_ACCESS_KEY``, ``db-password``), and
so do the credentials in a URL (``http://user:word@proxy``). Its value is replaced where it stands and wherever else it
turns up: in the command, in logs, in the failure that quotes it.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

REMOVED = "[removed]"
SHORTEST = 8
"""Characters of a secret that is looked for in other texts. A shorter one would be found in words,
and a number in figures."""

_SECRET = re.compile(
    r"(?:^|[_.\-])(?:token|key|apikey|secret|password|passwd|passphrase|credentials?|auth)(?:$|[_.\-])"
    r"|password|secret|apikey",
    re.IGNORECASE,
)
_NOT_SECRET = re.compile(
    r"(?:pad|stop|eos|bos|unk|sep|cls|mask|image|special|start|end)[_-]token$|_(?:path|file|sock)$", re.IGNORECASE
)
"""Tokens of a tokenizer, and places."""
_URL = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
_OPTION = re.compile(r"^--?([A-Za-z][\w.\-]*)=(.+)$", re.DOTALL)
_HOST = ("HOSTNAME",)
"""Variables that name the machine."""


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Whether the value of a variable, option or key of this name must not be published."""
    return bool(_SECRET.search(name)) and not _NOT_SECRET.search(name)


def secrets(value: Any) -> set[str]:
    """Every secret value in a JSON value."""
    return {secret for secret in _secrets(value) if secret != REMOVED}


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, it in value.items():
            if isinstance(it, str) and it and is_secret(str(key)):
                yield it
            else:
                yield from _secrets(it)
    elif isinstance(value, list | tuple):
        for before, it in zip((None, *value), value, strict=False):
            if isinstance(it, str) and isinstance(before, str) and _flag(before):
                yield it
            else:
                yield from _secrets(it)
    elif isinstance(value, str):
        yield from _URL.findall(value)
        if (option := _OPTION.match(value)) and is_secret(option[1]):
            yield option[2]


def _flag(word: str) -> bool:
    """An option whose value is the next word."""
    return word.startswith("-") and "=" not in word and is_secret(word.lstrip("-"))


def of_surroundings() -> set[str]:
    """Secrets in the variables of this process, which an engine may inherit and write into a log."""
    return secrets(dict(os.environ))


def published(value: Any, also: Iterable[str] = ()) -> Any:
    """A JSON value without secrets: its own, and those in ``also`` wherever they turn up."""
    return _published(value, _sought(secrets(value) | set(also)))


def _sought(known: Iterable[str]) -> list[str]:
    """Those that are looked for everywhere, the longest first."""
    return sorted({it for it in known if len(it) >= SHORTEST and not it.isdigit()}, key=len, reverse=True)


def _published(value: Any, known: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {
            key: REMOVED if isinstance(it, str) and it and is_secret(str(key)) else _published(it, known)
            for key, it in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            REMOVED if isinstance(it, str) and isinstance(before, str) and _flag(before) else _published(it, known)
            for before, it in zip((None, *value), value, strict=False)
        ]
    if isinstance(value, str):
        return _text(value, known)
    return value


def _text(text: str, known: list[str]) -> str:
    if (option := _OPTION.match(text)) and is_secret(option[1]):
        return f"{text[: option.start(2)]}{REMOVED}"
    for secret in known:
        text = text.replace(secret, REMOVED)
    return _URL.sub(REMOVED, text) if "://" in text else text


LONGEST_NAMED = 256
"""Bytes of a setting that names the machine."""


def without_in(pieces: Iterable[bytes], known: Iterable[str]) -> Iterator[bytes]:
    """:func:`without` for a file that comes in pieces: nothing is cut where a secret could lie across."""
    known = set(known)
    sought = [secret.encode(errors="surrogateescape") for secret in _sought(known)]
    reach = max([LONGEST_NAMED, *map(len, sought)])
    rest = b""
    for piece in pieces:
        rest += piece
        end = len(rest) - reach
        while (before := _start_across(rest, end, reach, sought)) is not None:
            end = before
        if end > 0:
            yield without(rest[:end], known)
            rest = rest[end:]
    yield without(rest, known)


def _start_across(data: bytes, at: int, reach: int, sought: list[bytes]) -> int | None:
    """Where something begins that must not be cut at ``at``; None where nothing lies across."""
    if at <= 0:
        return None
    low, window = max(0, at - reach), data[max(0, at - reach) : at + reach]
    spans = [(low + found, low + found + len(secret)) for secret in sought for found in _all(window, secret)]
    spans += [(low + it.start(), low + it.end()) for name in _HOST for it in re.finditer(_setting(name), window)]
    return max((start for start, end in spans if start < at < end), default=None)


def _all(data: bytes, what: bytes) -> Iterator[int]:
    at = data.find(what)
    while at >= 0:
        yield at
        at = data.find(what, at + 1)


def without(data: bytes, known: Iterable[str]) -> bytes:
    """A file without the secrets in ``known``, and without the name of the machine
    where a shell line or JSON sets it."""
    for secret in _sought(known):
        data = data.replace(secret.encode(errors="surrogateescape"), REMOVED.encode())
    for name in _HOST:
        data = re.sub(_setting(name), rb"\1unit", data)
    return data


def _setting(name: str) -> bytes:
    """Pattern of a shell line or JSON that sets a variable to the name of this machine;
    group 1 is what comes before that name."""
    host = re.escape(socket.gethostname().encode())
    return rb"(\b" + name.encode() + rb"(?:=|\": {0,9}\")['\"]?)" + host + rb"\b"
