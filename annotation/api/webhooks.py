"""Webhooks and the log of their calls. The key that signs them is shown on their page alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status

from annotation.api.access import Id
from annotation.api.bodies import body_of, checked, posted
from annotation.api.lists import PageQuery, page_of
from annotation.api.steps import StageOut, shown_stage
from annotation.forms.goal import WebhookForm
from annotation.jobs import kinds
from annotation.jobs.state import tell_webhooks
from annotation.jobs.webhook_detail import WebhookDetail
from annotation.models import Role, Stage, Webhook
from annotation.pipeline.project import webhooks as rules
from annotation.pipeline.project.goal import goal_of
from annotation.views.access import MemberRequest, project_of_member

router = Router(tags=["webhooks"])

WebhookBody = body_of(WebhookForm, "WebhookBody")


class WebhookOut(Schema):
    id: int
    address: str
    created_at: datetime


class CallOut(Schema):
    """A call. Its stage is tried again by itself, or resumed by hand. ``answer``: the status that it was answered with last."""

    stage: StageOut
    event: str
    address: str
    tries: int
    answer: int | None


class Calls(Schema):
    items: list[CallOut]
    next: int | None


class Called(Schema):
    calls: int


@router.get("/projects/{project_id}/webhooks", response=list[WebhookOut])
def list_webhooks(request: MemberRequest, project_id: Id) -> Any:
    project = project_of_member(request, project_id, role=Role.OWNER)
    return Webhook.objects.filter(project=project)


@router.post("/projects/{project_id}/webhooks", response={201: WebhookOut})
def add_webhook(request: MemberRequest, project_id: Id, body: WebhookBody) -> Any:  # type: ignore[valid-type]
    """Have an address called whenever a job ends, people are needed, or the certificate is there."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    address = checked(WebhookForm(posted(body))).cleaned_data["address"]
    return Status(201, rules.add_webhook(project, address, user=request.user))


@router.delete("/projects/{project_id}/webhooks/{webhook_id}", response={204: None})
def remove_webhook(request: MemberRequest, project_id: Id, webhook_id: Id) -> Any:
    project = project_of_member(request, project_id, role=Role.OWNER)
    rules.remove_webhook(get_object_or_404(Webhook, pk=webhook_id, project=project), user=request.user)
    return Status(204, None)


@router.get("/projects/{project_id}/webhook-calls", response=Calls)
def list_calls(request: MemberRequest, project_id: Id, query: Query[PageQuery]) -> Any:
    """The newest 500 calls."""
    project = project_of_member(request, project_id, role=Role.OWNER)

    def shown(stage: Stage) -> dict[str, Any]:
        detail = WebhookDetail.of(stage)
        names = ("event", "address", "tries", "answer")
        return {"stage": shown_stage(stage)} | {name: getattr(detail, name) for name in names}

    stages = project.stages.filter(kind=kinds.WEBHOOK.key).select_related("requested_by", "project")
    return page_of(stages, query, shown)


@router.post("/projects/{project_id}/webhook-calls", response={202: Called})
def call_webhooks(request: MemberRequest, project_id: Id) -> Any:
    """Call the webhooks once, to see whether they answer."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    goal = goal_of(project)
    return Status(202, {"calls": tell_webhooks(project, "test", {}, also=goal.webhook if goal else "")})
