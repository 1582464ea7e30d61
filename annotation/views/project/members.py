"""Members: who may do what in the project. Every member sees the list; owners change it."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError
from annotation.forms.fields import validated
from annotation.forms.team import InvitationForm, MemberForm, RoleForm
from annotation.models import Activity, Invitation, Membership, Project, Role
from annotation.pipeline.project import activity
from annotation.pipeline.project import members as membership_rules
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context


@for_members(Role.VIEWER, "GET")
def members(request: MemberRequest, project: Project) -> HttpResponse:
    return members_page(request, project)


@for_members(Role.OWNER, "POST", back="annotation:members")
def add_member(request: MemberRequest, project: Project) -> HttpResponse:
    form = MemberForm(request.POST)
    if form.is_valid():
        try:
            membership_rules.add_member(
                project, user=form.cleaned_data["username"], role=form.cleaned_data["role"]
            )
        except AnnotationError as error:
            form.add_error("username", str(error))
        else:
            name = form.cleaned_data["username"].get_username()
            activity.record(project, user=request.user, verb=Activity.Verb.ADDED, what=name)
            messages.success(
                request,
                _("%(name)s is now a member.") % {"name": form.cleaned_data["username"].get_username()},
            )
            return redirect("annotation:members", project.pk)
    return members_page(request, project, form=form)


def members_page(
    request: MemberRequest, project: Project, *, form: MemberForm | None = None, link: str = ""
) -> HttpResponse:
    """The list, and for owners the invitations; ``link`` is one that was just made."""
    form = form or MemberForm()
    found = project.memberships.select_related("user").order_by("user__username")
    context = page_context(request, project, step="members") | {
        "memberships": found,
        "form": form,
        "roles": Role.choices,
        "link": link,
        "invitations": Invitation.objects.usable().filter(project=project).select_related("created_by"),
        "invitation_form": InvitationForm(auto_id="invitation-%s"),
    }
    return render(request, "annotation/project/members.html", context, status=400 if form.errors else 200)


def change_membership(membership: Membership, *, role: str, user: User) -> None:
    """Give a member another role, and write down who did."""
    membership_rules.change_role(membership, role=role)
    what = f"{membership.user.get_username()}: {membership.get_role_display()}"
    activity.record(membership.project, user=user, verb=Activity.Verb.CHANGED_ROLE, what=what)


def remove_membership(membership: Membership, *, user: User) -> None:
    """Take a member out, and write down who did."""
    membership_rules.remove_member(membership, user=user)
    name = membership.user.get_username()
    activity.record(membership.project, user=user, verb=Activity.Verb.REMOVED, what=name)


@for_members(Role.OWNER, "POST", back="annotation:members")
def change_role(request: MemberRequest, project: Project, membership_id: int) -> HttpResponse:
    membership = get_object_or_404(Membership, pk=membership_id, project=project)
    form = validated(RoleForm(request.POST))
    change_membership(membership, role=form.cleaned_data["role"], user=request.user)
    return redirect("annotation:members", project.pk)


@for_members(Role.OWNER, "POST", back="annotation:members")
def remove_member(request: MemberRequest, project: Project, membership_id: int) -> HttpResponse:
    membership = get_object_or_404(Membership, pk=membership_id, project=project)
    remove_membership(membership, user=request.user)
    if membership.user_id == request.user.pk:
        return redirect("annotation:projects")
    return redirect("annotation:members", project.pk)
