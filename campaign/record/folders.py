"""The results folder of a campaign, by its name."""

from __future__ import annotations

from pathlib import Path

from campaign.record.durable import StoreError
from campaign.record.store import Store


def folder_for(root: Path, name: str, new: bool, durable: bool = True) -> Store:
    """The results folder of the latest campaign called ``name``, or of another one beside it."""
    number = 1
    while (root / _numbered(name, number + 1)).exists():
        number += 1
    store = Store(root / _numbered(name, number), durable=durable)
    if new and store.exists():
        store = Store(root / _numbered(name, number + 1), durable=durable)
    if not store.exists() and any(store.root.glob("attempts/*/[0-9]*")):
        raise StoreError(
            f"{store.campaign_path}: missing, although attempts/ holds evidence. "
            "Restore it from a backup, or move the folder away. Nothing was touched."
        )
    if (
        store.root.exists()
        and not store.exists()
        and any(store.root.glob("[!.]*"))
        and not (store.root / "plan.parquet").exists()
    ):
        raise StoreError(
            f"{store.root}: not empty and not a campaign. Move it away, or choose another --results folder."
        )
    return store


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"
