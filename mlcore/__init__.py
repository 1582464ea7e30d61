"""The engine of CORAL: pure Python, usable from a notebook, knowing nothing of the web application."""

from __future__ import annotations
