"""A user's tokens for the API: made here, shown once, and revoked."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from annotation.errors import AnnotationError
from annotation.forms.team import TokenForm
from annotation.pipeline.project.tokens import make_token
from annotation.views.access import MemberRequest


@require_http_methods(["GET", "POST"])
@login_required
@never_cache
def tokens(request: MemberRequest) -> HttpResponse:
    """The list, and after POST the secret of a new token, this once."""
    form, secret = TokenForm(request.POST if request.method == "POST" else None), ""
    if form.is_valid():
        try:
            secret = make_token(request.user, **form.cleaned_data)[1]
        except AnnotationError as error:
            form.add_error(None, str(error))
        else:
            form = TokenForm()
    context = {
        "form": form,
        "secret": secret,
        "tokens": request.user.api_tokens.all(),
        "rate": settings.API_RATE,
    }
    return render(request, "annotation/project/tokens.html", context, status=400 if form.errors else 200)


@require_POST
@login_required
def revoke_token(request: MemberRequest, token_id: int) -> HttpResponse:
    token = get_object_or_404(request.user.api_tokens, pk=token_id)
    token.delete()
    messages.success(request, _("The token “%(name)s” is revoked.") % {"name": token.name})
    return redirect("annotation:tokens")
