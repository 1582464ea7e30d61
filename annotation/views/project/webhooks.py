"""A project's webhooks, and the log of their calls."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotation.forms.fields import validated
from annotation.forms.goal import WebhookForm
from annotation.jobs import kinds
from annotation.jobs.state import tell_webhooks
from annotation.jobs.webhook_detail import WebhookDetail
from annotation.models import Project, Role, Webhook
from annotation.pipeline.project import webhooks as rules
from annotation.pipeline.project.goal import goal_of
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context

SHOWN_CALLS = 50


@for_members(Role.OWNER, "GET", back="annotation:members")
def webhooks(request: MemberRequest, project: Project) -> HttpResponse:
    calls = project.stages.filter(kind=kinds.WEBHOOK.key)[:SHOWN_CALLS]
    goal = goal_of(project)
    context = page_context(request, project, step="members") | {
        "webhooks": Webhook.objects.filter(project=project).select_related("created_by"),
        "of_goal": goal.webhook if goal else "",
        "form": WebhookForm(),
        "key": rules.webhook_key(project),
        "calls": [(stage, WebhookDetail.of(stage)) for stage in calls],
    }
    return render(request, "annotation/project/webhooks.html", context)


@for_members(Role.OWNER, "POST", back="annotation:webhooks")
def add_webhook(request: MemberRequest, project: Project) -> HttpResponse:
    form = validated(WebhookForm(request.POST))
    rules.add_webhook(project, form.cleaned_data["address"], user=request.user)
    return redirect("annotation:webhooks", project.pk)


@for_members(Role.OWNER, "POST", back="annotation:webhooks")
def remove_webhook(request: MemberRequest, project: Project, webhook_id: int) -> HttpResponse:
    rules.remove_webhook(get_object_or_404(Webhook, pk=webhook_id, project=project), user=request.user)
    return redirect("annotation:webhooks", project.pk)


@for_members(Role.OWNER, "POST", back="annotation:webhooks")
def call_webhooks(request: MemberRequest, project: Project) -> HttpResponse:
    """Call them once, to see whether they answer."""
    goal = goal_of(project)
    calls = tell_webhooks(project, "test", {}, also=goal.webhook if goal else "")
    words = ngettext("%(count)d webhook is called.", "%(count)d webhooks are called.", calls)
    messages.success(request, words % {"count": calls} if calls else _("There is no webhook to call."))
    return redirect("annotation:webhooks", project.pk)
