"""Who belongs to a project, who did what, and the filters that members keep."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.shortcuts import get_object_or_404
from django.urls import reverse
from ninja import Query, Router, Schema, Status

from annotation.api.access import Id
from annotation.api.bodies import body_of, checked, posted
from annotation.api.lists import PageQuery, page_of
from annotation.forms.team import InvitationForm, MemberForm, RoleForm
from annotation.models import Activity, Invitation, Membership, Role, SavedFilter
from annotation.pipeline.project import activity, saved_tables
from annotation.pipeline.project import members as membership_rules
from annotation.views.access import MemberRequest, project_of_member
from annotation.views.project.members import change_membership, remove_membership
from annotation.views.project.saved_tables import SaveFilterForm, keep_filter

router = Router(tags=["people"])

MemberBody = body_of(MemberForm, "MemberBody")
RoleBody = body_of(RoleForm, "RoleBody")
InvitationBody = body_of(InvitationForm, "InvitationBody")
FilterBody = body_of(SaveFilterForm, "FilterBody")


class MemberOut(Schema):
    id: int
    username: str
    role: str


class InvitationOut(Schema):
    id: int
    role: str
    uses: int
    most_uses: int | None
    expires_at: datetime


class NewInvitation(InvitationOut):
    """``link``: shown this once."""

    link: str


class ActivityOut(Schema):
    id: int
    user: str | None
    verb: str
    what: str
    created_at: datetime


class Activities(Schema):
    items: list[ActivityOut]
    next: int | None


class FilterOut(Schema):
    id: int
    name: str
    query: str
    is_shared: bool
    owner: str


def _shown_member(membership: Membership) -> dict[str, Any]:
    return {"id": membership.pk, "username": membership.user.get_username(), "role": membership.role}


@router.get("/projects/{project_id}/members", response=list[MemberOut])
def list_members(request: MemberRequest, project_id: Id) -> Any:
    project = project_of_member(request, project_id, role=Role.VIEWER)
    return [
        _shown_member(each) for each in project.memberships.select_related("user").order_by("user__username")
    ]


@router.post("/projects/{project_id}/members", response={201: MemberOut})
def add_member(request: MemberRequest, project_id: Id, body: MemberBody) -> Any:  # type: ignore[valid-type]
    project = project_of_member(request, project_id, role=Role.OWNER)
    wanted = checked(MemberForm(posted(body))).cleaned_data
    membership = membership_rules.add_member(project, user=wanted["username"], role=wanted["role"])
    name = membership.user.get_username()
    activity.record(project, user=request.user, verb=Activity.Verb.ADDED, what=name)
    return Status(201, _shown_member(membership))


@router.patch("/projects/{project_id}/members/{member_id}", response=MemberOut)
def change_role(request: MemberRequest, project_id: Id, member_id: Id, body: RoleBody) -> Any:  # type: ignore[valid-type]
    project = project_of_member(request, project_id, role=Role.OWNER)
    membership = get_object_or_404(Membership, pk=member_id, project=project)
    change_membership(
        membership, role=checked(RoleForm(posted(body))).cleaned_data["role"], user=request.user
    )
    return _shown_member(membership)


@router.delete("/projects/{project_id}/members/{member_id}", response={204: None})
def remove_member(request: MemberRequest, project_id: Id, member_id: Id) -> Any:
    """Take a member out; what they corrected stays."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    remove_membership(get_object_or_404(Membership, pk=member_id, project=project), user=request.user)
    return Status(204, None)


@router.get("/projects/{project_id}/invitations", response=list[InvitationOut])
def list_invitations(request: MemberRequest, project_id: Id) -> Any:
    """Links that can still be followed, without their secrets."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    return Invitation.objects.usable().filter(project=project)


@router.post("/projects/{project_id}/invitations", response={201: NewInvitation})
def invite(request: MemberRequest, project_id: Id, body: InvitationBody) -> Any:  # type: ignore[valid-type]
    """Make a link by which people join. It is told this once."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    wanted = checked(InvitationForm(posted(body))).cleaned_data
    invitation, secret = membership_rules.invite(
        project,
        role=wanted["role"],
        days=wanted["days"],
        most_uses=1 if wanted["once"] else None,
        user=request.user,
    )
    names = (name for name in InvitationOut.model_fields if name != "id")
    link = request.build_absolute_uri(reverse("annotation:join", args=[secret]))
    return Status(
        201, {name: getattr(invitation, name) for name in names} | {"id": invitation.pk, "link": link}
    )


@router.delete("/projects/{project_id}/invitations/{invitation_id}", response={204: None})
def revoke_invitation(request: MemberRequest, project_id: Id, invitation_id: Id) -> Any:
    project = project_of_member(request, project_id, role=Role.OWNER)
    invitation = get_object_or_404(Invitation, pk=invitation_id, project=project)
    membership_rules.revoke_invitation(invitation, user=request.user)
    return Status(204, None)


@router.get("/projects/{project_id}/activity", response=Activities)
def list_activity(request: MemberRequest, project_id: Id, query: Query[PageQuery]) -> Any:
    """What people did, beyond single corrections; the newest first."""
    project = project_of_member(request, project_id, role=Role.OWNER)

    def shown(event: Activity) -> dict[str, Any]:
        own = {"id": event.pk, "what": event.what, "created_at": event.created_at}
        return own | {"user": event.user and event.user.get_username(), "verb": event.get_verb_display()}

    return page_of(project.activities.select_related("user"), query, shown)


# --- Filters ------------------------------------------------------------------------------------------------------


def _shown_filter(saved: SavedFilter) -> dict[str, Any]:
    own = {"id": saved.pk, "name": saved.name, "query": saved.query, "is_shared": saved.is_shared}
    return own | {"owner": saved.owner.get_username()}


@router.get("/projects/{project_id}/filters", response=list[FilterOut])
def list_filters(request: MemberRequest, project_id: Id) -> Any:
    """The user's filters of the review table, and those that others share."""
    project = project_of_member(request, project_id, role=Role.VIEWER)
    visible = SavedFilter.objects.visible_to(request.user).filter(project=project)
    return [_shown_filter(saved) for saved in visible.select_related("owner")]


@router.post("/projects/{project_id}/filters", response={201: FilterOut})
def save_filter(request: MemberRequest, project_id: Id, body: FilterBody) -> Any:  # type: ignore[valid-type]
    """Keep a filter under a name. ``query`` is the review table's address from its question mark on."""
    project = project_of_member(request, project_id, role=Role.VIEWER)
    form = checked(SaveFilterForm(posted(body)))
    return Status(201, _shown_filter(keep_filter(project, form, user=request.user, role=request.role)))


@router.delete("/projects/{project_id}/filters/{filter_id}", response={204: None})
def remove_filter(request: MemberRequest, project_id: Id, filter_id: Id) -> Any:
    project = project_of_member(request, project_id, role=Role.VIEWER)
    visible = SavedFilter.objects.visible_to(request.user)
    saved = get_object_or_404(visible, pk=filter_id, project=project)
    saved_tables.remove_filter(saved, user=request.user, role=request.role)
    return Status(204, None)
