"""What a certificate says, in sentences, for the page and for the workbook."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from annotation.jobs.details import Json


def statement_sentence(statement: Json) -> str:
    """How many labels are right, at least, and with which confidence."""
    values = _values(statement)
    if statement["holds"]:
        return (
            _(
                "At least %(low)s of the %(rows)s labels are right, with %(confidence)s confidence. The target of %(target)s is reached."
            )
            % values
        )
    return (
        _(
            "At least %(low)s of the %(rows)s labels are right, with %(confidence)s confidence. The target of %(target)s is not shown yet."
        )
        % values
    )


def part_sentence(statement: Json) -> str:
    """The largest part of the file that reaches the target."""
    values = _values(statement)
    if not statement["part"]["others"]:
        return _("All %(rows)s rows are certified at %(target)s.") % values
    return (
        _("%(part)s of %(rows)s rows are certified at %(target)s; the other %(others)s are listed for you.")
        % values
    )


def _values(statement: Json) -> dict[str, Any]:
    low = int(statement["accuracy"]["low"] * 1000) / 10  # never rounded up
    return {
        "low": f"{low:.1f}\N{NO-BREAK SPACE}%",
        "rows": f"{statement['rows']:,}",
        "confidence": f"{statement['confidence'] * 100:g}\N{NO-BREAK SPACE}%",
        "target": f"{statement['target'] * 100:g}\N{NO-BREAK SPACE}%",
        "part": f"{statement['part']['rows']:,}",
        "others": f"{statement['part']['others']:,}",
    }
