"""What people note of a row beside its label."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from annotation.models import RowClaim, RowMark, Sample


def mark_row(sample: Sample, *, user: User, **noted: Any) -> RowMark | None:
    """Set what is noted (``unclear``, ``for_colleague``, ``note``); what is not named stays. An empty mark is removed.

    An unclear row leaves the queue, and keeps the models' label until somebody gives it another one.
    """
    with transaction.atomic():
        mark, _made = RowMark.objects.select_for_update().get_or_create(
            sample=sample, defaults={"project": sample.project}
        )
        for name, value in noted.items():
            setattr(mark, name, value)
        if not (mark.unclear or mark.for_colleague or mark.note):
            mark.delete()
            return None
        mark.user = user
        mark.save()
        if mark.unclear:
            RowClaim.objects.filter(sample=sample).delete()
    return mark
