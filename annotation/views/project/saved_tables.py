"""What a member keeps of the table: filters by name, and the columns."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation.forms.fields import validated
from annotation.models import Project, Role, SavedFilter
from annotation.pipeline.project import saved_tables
from annotation.table.columns import columns_of
from annotation.table.form import TableForm
from annotation.views.access import MemberRequest, for_members


class SaveFilterForm(forms.Form):
    name = forms.CharField(label=gettext_lazy("Name"), max_length=80, strip=True)
    query = forms.CharField(max_length=2_000, required=False)
    is_shared = forms.BooleanField(label=gettext_lazy("For all members"), required=False)


@for_members(Role.VIEWER, "POST", back="annotation:review")
def save_filter(request: MemberRequest, project: Project) -> HttpResponse:
    form = validated(SaveFilterForm(request.POST))
    saved = keep_filter(project, form, user=request.user, role=request.role)
    messages.success(request, _("The filter is saved as “%(name)s”.") % {"name": saved.name})
    return redirect(reverse("annotation:review", args=[project.pk]) + saved.query)


def keep_filter(project: Project, form: SaveFilterForm, *, user: User, role: Role) -> SavedFilter:
    """Keep the filter that a valid form holds; a viewer's is for themselves.

    Raises:
        AnnotationError: the table has no such filter, or the user keeps too many.
    """
    asked = QueryDict(form.cleaned_data["query"].lstrip("?"))
    table = validated(TableForm(asked, project=project, default_sort=""))
    return saved_tables.save_filter(
        project,
        user=user,
        name=form.cleaned_data["name"],
        query=table.query(round=""),
        is_shared=form.cleaned_data["is_shared"] and role != Role.VIEWER,
    )


@for_members(Role.VIEWER, "POST", back="annotation:review")
def remove_filter(request: MemberRequest, project: Project, filter_id: int) -> HttpResponse:
    visible = SavedFilter.objects.visible_to(request.user)
    saved = get_object_or_404(visible, pk=filter_id, project=project)
    saved_tables.remove_filter(saved, user=request.user, role=request.role)
    messages.success(request, _("The filter “%(name)s” is removed.") % {"name": saved.name})
    return redirect("annotation:review", project.pk)


@for_members(Role.VIEWER, "POST", back="annotation:review")
def choose_columns(request: MemberRequest, project: Project) -> HttpResponse:
    known = {choice.key for choice in columns_of(project, None).choices}
    chosen = [key for key in request.POST.getlist("column") if key in known]
    usual = "usual" in request.POST
    saved_tables.choose_columns(project, user=request.user, columns=[] if usual else [*chosen, "text"])
    query = request.POST.get("query", "")
    return redirect(
        reverse("annotation:review", args=[project.pk]) + (query if query.startswith("?") else "")
    )
