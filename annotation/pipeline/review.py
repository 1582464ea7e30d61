"""People's corrections: append-only, never overwritten by a machine."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError, ConflictError
from annotation.models import Correction, Label, Prediction, Sample, Source


def correct_sample(
    sample_id: int,
    *,
    label_id: int | None,
    user: User,
    seen_version: int | None = None,
    because: str = Correction.Because.BROWSING,
) -> Sample:
    """Record what a person says of a row, and make it the row's label at once.

    Args:
        label_id: the label, or None to withdraw the correction: the row returns to the machines' label.
        seen_version: the row's version on the page that the person looked at; None skips the check.

    Raises:
        ConflictError: somebody changed the row after that page was made.
        AnnotationError: the label is not one of the project's.
    """
    with transaction.atomic():
        sample = (
            Sample.objects.select_for_update(of=("self",))
            .select_related("label", "corrected_by")
            .get(pk=sample_id)
        )
        if seen_version is not None and sample.version != seen_version:
            raise ConflictError(_conflict(sample))
        label = _label_of(sample, label_id)
        Correction.objects.create(
            sample=sample,
            user=user,
            label=label,
            replaced_label=sample.label,
            replaced_source=sample.source,
            round=sample.round,
            because=because,
        )
        if label is None:
            _return_to_machines(sample)
        else:
            sample.label, sample.source, sample.risk = label, Source.PERSON, 0.0
            sample.corrected_by, sample.corrected_at = user, timezone.now()
        sample.version += 1
        sample.save(update_fields=["label", "source", "risk", "corrected_by", "corrected_at", "version"])
    return sample


def _label_of(sample: Sample, label_id: int | None) -> Label | None:
    if label_id is None:
        return None
    label = Label.objects.filter(pk=label_id, project=sample.project_id).first()
    if label is None:
        raise AnnotationError(_("That label is not one of this project's. Reload the page and choose again."))
    return label


def _return_to_machines(sample: Sample) -> None:
    """Undo a correction: take the newest verdict of the models, or nothing where there is none."""
    sample.corrected_by = sample.corrected_at = None
    verdict = (
        Prediction.objects.filter(sample=sample, source=Prediction.ModelKind.SLM, verdict__isnull=False)
        .order_by("-iteration__number")
        .first()
    )
    if verdict is not None:
        sample.label, sample.risk = verdict.verdict, verdict.risk
        sample.source = Source.LLM if verdict.verdict_id == sample.llm_label_id else Source.SLM
    else:
        sample.label, sample.risk = sample.llm_label, None
        sample.source = Source.LLM if sample.llm_label_id else Source.NONE


def _conflict(sample: Sample) -> str:
    who = sample.corrected_by.get_username() if sample.corrected_by else _("Somebody")
    chosen = sample.label.name if sample.label else _("no label")
    return _("%(who)s set this row to “%(label)s” meanwhile. Look at it once more and choose again.") % {
        "who": who,
        "label": chosen,
    }
