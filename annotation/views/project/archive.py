"""Put a project away, take it back, delete it for good."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from annotation.models import Project, Role
from annotation.pipeline.project import archive as putting_away
from annotation.views.access import MemberRequest, for_members


@for_members(Role.OWNER, "POST", back="annotation:configure_task")
def put_away(request: MemberRequest, project: Project) -> HttpResponse:
    putting_away.put_away(project, user=request.user)
    sentence = _("“%(name)s” is archived. Nothing is lost; you can restore it below at any time.")
    messages.success(request, sentence % {"name": project.name})
    return redirect("annotation:projects")


@for_members(Role.OWNER, "POST", put_away=True)
def take_back(request: MemberRequest, project: Project) -> HttpResponse:
    putting_away.take_back(project, user=request.user)
    messages.success(request, _("“%(name)s” is restored.") % {"name": project.name})
    return redirect("annotation:projects")


@for_members(Role.OWNER, "POST", put_away=True)
def delete_project(request: MemberRequest, project: Project) -> HttpResponse:
    putting_away.start_deletion(project, name=request.POST.get("name", ""), user=request.user)
    messages.success(request, _("“%(name)s” is being deleted.") % {"name": project.name})
    return redirect("annotation:projects")
