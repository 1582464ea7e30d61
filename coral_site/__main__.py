"""``python -m coral_site`` is the ``coral`` command."""

from __future__ import annotations

from coral_site.command import main

main()
