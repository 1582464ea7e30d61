"""Who may see and change what: the one door that every project page goes through."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from django_htmx.middleware import HtmxDetails

from annotation.errors import AnnotationError
from annotation.models import Membership, Project, Role
from mlcore.errors import EngineError

P = ParamSpec("P")

#: What a role includes: an owner is a reviewer, a reviewer is a viewer.
RANKS = {Role.VIEWER: 1, Role.REVIEWER: 2, Role.OWNER: 3}


class MemberRequest(HttpRequest):
    """A request of a signed-in member of the project that the view is given."""

    user: User
    htmx: HtmxDetails
    role: Role
    membership: Membership


View = Callable[Concatenate[MemberRequest, Project, P], HttpResponseBase]


def for_members(
    role: Role, *methods: str, back: str = "annotation:project", put_away: bool = False
) -> Callable[[View[P]], Callable[..., HttpResponseBase]]:
    """Give the view its project, if the user is a member with at least this role and the method is one of these.

    A project that was put away exists for the views alone that take it back or delete it (``put_away``).

    To others a project does not exist (404); a member with a smaller role is refused (403). An error that carries
    a sentence is shown as one on the page ``back``; htmx gets it as a note with status 409, which is not swapped in.
    """

    def decorate(view: View[P]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        @require_http_methods(methods)
        @login_required
        @never_cache
        def with_project(
            request: MemberRequest, project_id: int, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponseBase:
            project = project_of_member(request, project_id, role=role, put_away=put_away)
            try:
                return view(request, project, *args, **kwargs)
            except (AnnotationError, EngineError) as error:
                if request.htmx:
                    return render(
                        request,
                        "annotation/_error_note.html",
                        {"sentence": str(error)},
                        status=409,
                    )
                messages.error(request, str(error))
                return redirect("annotation:projects") if put_away else redirect(back, project.pk)

        return with_project

    return decorate


def project_of_member(
    request: MemberRequest, project_id: int, *, role: Role, put_away: bool = False
) -> Project:
    membership = request.user.memberships.select_related("project").filter(project=project_id).first()
    if membership is None:
        raise Http404
    request.membership, request.role = membership, Role(membership.role)
    if RANKS[request.role] < RANKS[role]:
        raise PermissionDenied(
            _("Your role in this project is %(role)s; this needs %(needed)s. Ask an owner of the project.")
            % {"role": request.role.label, "needed": role.label}
        )
    if (membership.project.put_away_at is not None) != put_away:
        raise Http404
    return membership.project
