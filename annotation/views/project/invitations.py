"""Invitations by link: an owner makes and revokes them; whoever follows one joins, with a new account if need be."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import login
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from annotation.errors import AnnotationError
from annotation.forms.fields import validated
from annotation.forms.team import InvitationForm, SignupForm
from annotation.models import Invitation, Project, Role
from annotation.pipeline.project import members as membership_rules
from annotation.views.access import MemberRequest, for_members
from annotation.views.project.members import members_page


@for_members(Role.OWNER, "POST", back="annotation:members")
def invite(request: MemberRequest, project: Project) -> HttpResponse:
    """Make a link and show it, this once: only a digest of it is kept."""
    form = validated(InvitationForm(request.POST))
    _invitation, secret = membership_rules.invite(
        project,
        role=form.cleaned_data["role"],
        days=form.cleaned_data["days"],
        most_uses=1 if form.cleaned_data["once"] else None,
        user=request.user,
    )
    link = request.build_absolute_uri(reverse("annotation:join", args=[secret]))
    return members_page(request, project, link=link)


@for_members(Role.OWNER, "POST", back="annotation:members")
def revoke_invitation(request: MemberRequest, project: Project, invitation_id: int) -> HttpResponse:
    invitation = get_object_or_404(Invitation, pk=invitation_id, project=project)
    membership_rules.revoke_invitation(invitation, user=request.user)
    messages.success(request, _("The link is revoked. People who have joined with it stay members."))
    return redirect("annotation:members", project.pk)


@never_cache
@require_http_methods(["GET", "POST"])
def join(request: HttpRequest, secret: str) -> HttpResponse:
    """What the link is for; joining needs a click, so that a preview of the link joins nobody."""
    invitation = membership_rules.usable_invitation(secret)
    if invitation is None:
        return render(request, "annotation/project/join.html", {"invitation": None}, status=404)
    form = SignupForm(request.POST or None)
    if request.method == "POST":
        try:
            if _join(request, secret, form):
                return redirect("annotation:project", invitation.project_id)
        except AnnotationError as error:
            messages.error(request, str(error))
            return redirect("annotation:join", secret)
    context = {"invitation": invitation, "form": form}
    return render(request, "annotation/project/join.html", context, status=400 if form.errors else 200)


def _join(request: HttpRequest, secret: str, form: SignupForm) -> bool:
    """Make the user a member, and first an account for somebody who has none; False if the form is not right."""
    if request.user.is_authenticated:
        membership_rules.accept_invitation(secret, user=request.user)
        return True
    if not form.is_valid():
        return False
    with transaction.atomic():  # no account is left behind where the invitation was used up meanwhile
        user = form.save()
        membership_rules.accept_invitation(secret, user=user)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return True
