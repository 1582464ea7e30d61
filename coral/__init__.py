"""A client of a CORAL server: from a DataFrame to labels whose accuracy was measured. docs/api.md has an example."""

from __future__ import annotations

from coral.client import Client
from coral.errors import CoralError
from coral.project import Project

__all__ = ["Client", "CoralError", "Project"]
