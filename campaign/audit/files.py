"""Files against their digests: of the manifest, of the journal, of the registration."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator

from campaign.audit.words import RESTORE, STRANGE, Event
from campaign.plan import registration
from campaign.record import untrusted
from campaign.record.layout import DERIVED, PARTIALS
from campaign.record.store import Problem, Store


def manifest_of(store: Store) -> Generator[Problem, None, dict[str, str]]:
    """Returns name to digest."""
    entries: dict[str, str] = {}
    try:
        text = untrusted.read_bytes(store.manifest).decode("utf-8")
    except FileNotFoundError:
        text = ""
    except (untrusted.Unreadable, UnicodeDecodeError) as problem:
        yield Problem("MANIFEST.sha256", f"unreadable ({problem})", RESTORE)
        return {}
    whole, _, torn = text.rpartition("\n")
    if torn:
        yield Problem("MANIFEST.sha256", "the last line is torn", "`campaign run` cuts it off at its next start")
    for number, line in enumerate(whole.split("\n") if whole else (), 1):
        value, _, name = line.partition("  ")
        if not re.fullmatch(r"[0-9a-f]{64}", value) or not store.is_finished_file(name):
            yield Problem("MANIFEST.sha256", f"line {number} is none that a campaign writes", RESTORE)
        elif name in entries:
            yield Problem("MANIFEST.sha256", f"line {number} lists {name} again", RESTORE)
        else:
            entries[name] = value
    return entries


def files_problems(store: Store, manifest: dict[str, str]) -> Iterator[Problem]:
    """Every file there is: known, regular and unchanged; and every one that is listed is there."""
    there = set()
    for name, why in untrusted.walk(store.root):
        shown = untrusted.plain(name).replace("\n", "\\n")
        if name.startswith(DERIVED):
            continue
        if any(pattern.fullmatch(name) for pattern in PARTIALS):
            yield Problem(shown, "left by a crash", "`campaign run` removes it at its next start")
        elif why is not None:
            yield Problem(shown, why, STRANGE)
        elif store.is_finished_file(name):
            there.add(name)
            yield from _unlike_manifest(store, name, shown, manifest)
        else:
            yield Problem(shown, "not a file of this campaign", STRANGE)
    for name in manifest:
        if name not in there:
            yield Problem(name, "listed in MANIFEST.sha256 but missing", RESTORE)
    for place in sorted(store.root.glob("attempts/*/*")):
        if place.is_dir() and not place.name.isdecimal() and not place.name.startswith("."):
            yield Problem(
                untrusted.plain(str(place.relative_to(store.root))), "not an attempt's folder",
                "`campaign run` sets it aside where the campaign is unfinished; else move it away",
            )  # fmt: skip


def _unlike_manifest(store: Store, name: str, shown: str, manifest: dict[str, str]) -> Iterator[Problem]:
    if name not in manifest:
        yield Problem(shown, "not in MANIFEST.sha256", "`campaign run` completes the manifest at its next start")
    elif untrusted.sha256(store.root / name) != manifest[name]:
        yield Problem(shown, "its digest differs from MANIFEST.sha256: it was changed after it was written", RESTORE)


def bound_files(store: Store, events: list[Event]) -> Iterator[Problem]:
    """Files whose digests stand in the journal, which has them in its chain."""
    for event in events:
        for name, expected in (event.get("files") or {}).items():
            path = store.root / name
            if untrusted.why_not(path) is None and untrusted.sha256(path) != expected:
                yield Problem(name, f"its digest differs from that in line {event['seq'] + 1} of the journal", RESTORE)
            elif not path.exists():
                yield Problem(name, f"named in line {event['seq'] + 1} of the journal but missing", RESTORE)


def registration_problems(store: Store, events: list[Event]) -> Iterator[Problem]:
    """A registration that the journal does not know may have been written when the results were."""
    path = store.root / registration.NAME
    taken = [event for event in events if event["event"] == "registered"]
    if not taken and path.exists():
        yield Problem(registration.NAME, "the journal does not know it: it shows nothing", STRANGE)
    elif taken and (untrusted.why_not(path) is not None or untrusted.sha256(path) != taken[0].get("sha256")):
        yield Problem(registration.NAME, f"not the one of line {taken[0]['seq'] + 1} of the journal", RESTORE)
