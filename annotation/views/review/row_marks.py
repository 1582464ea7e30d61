"""Notes on a row beside its label."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from annotation.forms.fields import validated
from annotation.forms.review import MarkForm
from annotation.models import Project, Role, Sample
from annotation.pipeline.review import marks
from annotation.views.access import MemberRequest, for_members


@for_members(Role.REVIEWER, "POST", back="annotation:focus")
def mark_sample(request: MemberRequest, project: Project, sample_id: int) -> HttpResponse:
    """A note on a row, and whether a colleague should look at it."""
    sample = get_object_or_404(Sample, pk=sample_id, project=project)
    noted = validated(MarkForm(request.POST))
    mark = marks.mark_row(sample, user=request.user, **noted.cleaned_data)
    if request.htmx:
        context = {"project": project, "sample": sample, "mark": mark, "saved": True}
        return render(request, "annotation/review/_mark.html", context)
    return redirect(f"{reverse('annotation:focus', args=[project.pk])}?row={sample_id}")
