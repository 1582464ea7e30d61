"""Who belongs to a project. A project always keeps an owner."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from annotation.errors import AnnotationError
from annotation.models import Membership, Project, Role


def add_member(project: Project, *, user: User, role: str) -> Membership:
    """Make the user a member; somebody who is one already keeps the role until it is changed in the list.

    Raises:
        AnnotationError: the user is a member already.
    """
    membership, made = Membership.objects.get_or_create(project=project, user=user, defaults={"role": role})
    if not made:
        raise AnnotationError(
            _("%(name)s is a member already, as %(role)s. Change the role in the list.")
            % {"name": user.get_username(), "role": membership.get_role_display()}
        )
    return membership


def change_role(membership: Membership, *, role: str) -> None:
    """Raises AnnotationError where this would leave the project without an owner."""
    with transaction.atomic():
        _keep_an_owner(membership, role=role)
        membership.role = role
        membership.save(update_fields=["role"])


def remove_member(membership: Membership) -> None:
    """Take the user out; what they corrected stays. Raises AnnotationError for the last owner."""
    with transaction.atomic():
        _keep_an_owner(membership, role="")
        membership.delete()


def _keep_an_owner(membership: Membership, *, role: str) -> None:
    owners = membership.project.memberships.select_for_update().filter(role=Role.OWNER)
    others = [owner for owner in owners if owner.pk != membership.pk]
    if role != Role.OWNER and not others:
        raise AnnotationError(_("A project needs an owner. Make somebody else an owner first."))
