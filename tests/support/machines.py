"""Machines with data folders of their own and one store, played by one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coral_site.data_store import store_at


class Machines:
    """``go_to`` makes the program see a machine's folders; ``store``: the folder that plays the store."""

    def __init__(self, settings: Any, folder: Path) -> None:
        self.settings, self.folder, self.store = settings, folder, folder / "store"
        self.store.mkdir()
        settings.STORAGES = settings.STORAGES | store_at(self.store.as_uri(), "")

    def go_to(self, name: str) -> None:
        """From now on the program runs on this machine."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        self.settings.DATA_DIR = folder
        self.settings.UPLOAD_DIR, self.settings.EXPORT_DIR = folder / "uploads", folder / "exports"
        self.settings.RUN_DIR, self.settings.CACHE_DIR = folder / "runs", folder / "cache"
