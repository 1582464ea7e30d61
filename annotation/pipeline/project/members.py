"""Who belongs to a project. A project always keeps an owner."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from annotation.errors import AnnotationError
from annotation.models import Activity, Invitation, Membership, Project, Role
from annotation.pipeline.project import activity

INVITED_ROLES = (Role.REVIEWER, Role.VIEWER)
MOST_DAYS = 90


def add_member(project: Project, *, user: User, role: str) -> Membership:
    """Make the user a member; somebody who is one already keeps the role until it is changed in the list.

    Raises:
        AnnotationError: the user is a member already.
    """
    membership, made = Membership.objects.get_or_create(project=project, user=user, defaults={"role": role})
    if not made:
        raise AnnotationError(
            "%(name)s is a member already, as %(role)s. Change the role in the list.",
            name=user.get_username(),
            role=membership.get_role_display(),
        )
    return membership


def change_role(membership: Membership, *, role: str) -> None:
    """Raises AnnotationError where this would leave the project without an owner."""
    with transaction.atomic():
        _keep_an_owner(membership, role=role)
        membership.role = role
        membership.save(update_fields=["role"])


def remove_member(membership: Membership, *, user: User) -> None:
    """Take the user out, and revoke the link that they came by; what they corrected stays.

    Raises:
        AnnotationError: this is the last owner.
    """
    with transaction.atomic():
        _keep_an_owner(membership, role="")
        membership.delete()
        if membership.invitation:
            revoke_invitation(membership.invitation, user=user)


# --- By link --------------------------------------------------------------------------------------------------------


def invite(
    project: Project, *, role: str, days: int, most_uses: int | None, user: User
) -> tuple[Invitation, str]:
    """Make an invitation. Returns it with its secret, which is the link's last part and is stored nowhere.

    Args:
        days: until it expires, 1 to 90.
        most_uses: how many people may follow it; None for any number.

    Raises:
        AnnotationError: the role is none that a link may give, or the time is out of range.
    """
    if role not in INVITED_ROLES:
        raise AnnotationError(
            "A link can invite reviewers and viewers, not “%(role)s”. Owners are set in the list of members.",
            role=role,
        )
    if not 1 <= days <= MOST_DAYS:
        raise AnnotationError(
            "An invitation is valid for 1 to %(most)s days, not %(days)s.", most=MOST_DAYS, days=days
        )
    secret = secrets.token_urlsafe(24)
    invitation = Invitation.objects.create(
        project=project,
        role=role,
        digest=_digest(secret),
        most_uses=most_uses,
        expires_at=timezone.now() + timedelta(days=days),
        created_by=user,
    )
    activity.record(project, user=user, verb=Activity.Verb.INVITED, what=invitation.get_role_display())
    return invitation, secret


def usable_invitation(secret: str) -> Invitation | None:
    """The invitation behind a link; None if it was revoked, used up, has expired, or never was."""
    return (
        Invitation.objects.usable()
        .select_related("project", "created_by")
        .filter(digest=_digest(secret))
        .first()
    )


def accept_invitation(secret: str, *, user: User) -> Membership:
    """Make the user a member. Somebody who is one already keeps their role, and the link is not used up by it.

    Raises:
        AnnotationError: the invitation does not hold any more.
    """
    with transaction.atomic():
        # One at a time: a double click finds the membership that it has just made.
        Invitation.objects.select_for_update().filter(digest=_digest(secret)).first()
        invitation = usable_invitation(secret)
        if invitation is None:
            raise _no_invitation()
        known = invitation.project.memberships.filter(user=user).first()
        if known:
            return known
        if not Invitation.objects.usable().filter(pk=invitation.pk).update(uses=F("uses") + 1):
            raise _no_invitation()  # somebody else used it up at the same moment
        membership = Membership.objects.create(
            project=invitation.project, user=user, role=invitation.role, invitation=invitation
        )
        activity.record(
            invitation.project, user=user, verb=Activity.Verb.JOINED, what=membership.get_role_display()
        )
    return membership


def revoke_invitation(invitation: Invitation, *, user: User) -> None:
    """Make a link worthless from now on; who joined by it stays."""
    if Invitation.objects.filter(pk=invitation.pk, revoked_at__isnull=True).update(revoked_at=timezone.now()):
        activity.record(
            invitation.project, user=user, verb=Activity.Verb.REVOKED, what=invitation.get_role_display()
        )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _no_invitation() -> AnnotationError:
    return AnnotationError(
        "This invitation is no longer valid: it was used or revoked, or it has expired. Ask for a new one."
    )


def _keep_an_owner(membership: Membership, *, role: str) -> None:
    owners = membership.project.memberships.select_for_update().filter(role=Role.OWNER)
    others = [owner for owner in owners if owner.pk != membership.pk]
    if role != Role.OWNER and not others:
        raise AnnotationError("A project needs an owner. Make someone else an owner first.")
