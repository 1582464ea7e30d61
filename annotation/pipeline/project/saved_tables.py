"""What a member keeps of the table: filters by name, and which columns to see."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib.auth.models import User

from annotation.errors import AnnotationError
from annotation.models import Membership, Project, Role, SavedFilter

MOST_FILTERS = 100


def save_filter(project: Project, *, user: User, name: str, query: str, is_shared: bool) -> SavedFilter:
    """Keep a filter under a name; the same name again replaces the user's own one.

    Raises:
        AnnotationError: the user keeps too many already.
    """
    kept = SavedFilter.objects.filter(project=project, owner=user)
    if kept.count() >= MOST_FILTERS and not kept.filter(name=name).exists():
        raise AnnotationError(
            "You have saved %(most)s filters here, the maximum. Remove one first.", most=MOST_FILTERS
        )
    saved, _made = SavedFilter.objects.update_or_create(
        project=project, owner=user, name=name, defaults={"query": query, "is_shared": is_shared}
    )
    return saved


def remove_filter(saved: SavedFilter, *, user: User, role: str) -> None:
    """Remove one's own filter; an owner of the project may remove any shared one.

    Raises:
        AnnotationError: it is somebody else's.
    """
    if saved.owner_id != user.pk and not (role == Role.OWNER and saved.is_shared):
        raise AnnotationError(
            "The filter “%(name)s” is %(owner)s's; only they or an owner of the project can remove it.",
            name=saved.name,
            owner=saved.owner.get_username(),
        )
    saved.delete()


def choose_columns(project: Project, *, user: User, columns: Sequence[str]) -> None:
    """Remember which columns a member wants to see; none at all means the usual ones."""
    Membership.objects.filter(project=project, user=user).update(columns=list(columns))
