"""What is at work in a project, or ended last: every page of the project shows it, and hears of its end."""

from __future__ import annotations

from typing import Any

from annotation.jobs import kinds
from annotation.models import Project


def project_work(project: Project) -> dict[str, Any]:
    """What ``annotation/jobs/_work.html`` shows; the pages that include it and the consumer that pushes it agree."""
    shown = kinds.keys(lambda kind: kind.is_step)
    newest = project.stages.filter(kind__in=shown).defer("detail", "error").order_by("-id").first()
    return {"work": newest, "work_page": f"annotation:{kinds.kind_of(newest).page}" if newest else ""}
