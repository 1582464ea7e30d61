#!/usr/bin/env python
"""Django's command line."""

from __future__ import annotations

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coral_site.settings")
    # Threads that wait for each other spin; beside other work they spin in each other's way (docs/benchmarks.md). It is
    # read when torch is loaded, so it stands here, before anything is.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
