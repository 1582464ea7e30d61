"""For developers: start the program's own processes anew when a source file changes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from watchfiles import PythonFilter, watch

from annotation.ops.supervisor import Supervisor

# Django keeps templates and translations in memory, so their changes need new processes, too.
_FILTER = PythonFilter(extra_extensions=(".html", ".mo"))


def restart_on_change(supervisor: Supervisor, folders: Sequence[Path]) -> None:
    """Watch the folders in a thread, for as long as this process lives."""

    def restart() -> None:
        for changes in watch(*folders, watch_filter=_FILTER):
            names = ", ".join(sorted({Path(path).name for _change, path in changes}))
            supervisor.say(f"Changed: {names}.")
            supervisor.restart()

    threading.Thread(target=restart, name="reload", daemon=True).start()
