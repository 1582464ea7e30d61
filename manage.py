#!/usr/bin/env python
"""The ``coral`` command of a checkout, without an installation."""

from __future__ import annotations

from coral_site.command import main

if __name__ == "__main__":
    main()
