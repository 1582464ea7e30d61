"""Accounts: logging in and out comes from Django; making an account is closed unless the operator opens it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from axes.helpers import get_client_ip_address
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, views
from django.contrib.auth.forms import AuthenticationForm
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from annotation.forms.team import LoginForm, SignupForm
from annotation.models import OneTimePassword
from annotation.views.password_limit import PASSWORDS

CHANGE_FIRST = "change_first"  # in the session: no other page opens before a password was chosen


class LimitedPasswords:
    """A view whose POST checks a password: so many a minute, and one at a time."""

    def limited_by(self, request: HttpRequest) -> str:
        return get_client_ip_address(request) or ""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with PASSWORDS.attempt(self.limited_by(request)) as allowed:
            if allowed:
                return super().post(request, *args, **kwargs)  # type: ignore[misc,no-any-return]
        return render(request, "registration/lockout.html", {"minutes": 1}, status=429)


class LoginView(LimitedPasswords, views.LoginView):
    redirect_authenticated_user = True
    form_class = LoginForm

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        PASSWORDS.forgive(self.limited_by(self.request))
        user = form.get_user()
        is_one_time = OneTimePassword.objects.is_set(user)
        answer = super().form_valid(form)
        if not is_one_time:
            return answer
        self.request.session[CHANGE_FIRST] = True
        messages.info(
            self.request, _("Welcome. You logged in with a one-time password; choose your own now.")
        )
        return redirect("password_change")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"signup_open": settings.SIGNUP_OPEN}


class PasswordChangeView(LimitedPasswords, views.PasswordChangeView):
    success_url = reverse_lazy("annotation:projects")

    def limited_by(self, request: HttpRequest) -> str:
        return f"account {request.user.pk}"

    def form_valid(self, form: Any) -> HttpResponse:
        self.request.session.pop(CHANGE_FIRST, None)
        messages.success(self.request, _("Your password has been changed."))
        return super().form_valid(form)


@never_cache
@require_http_methods(["GET", "POST"])
def signup(request: HttpRequest) -> HttpResponse:
    if not settings.SIGNUP_OPEN:
        raise Http404
    form = SignupForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        login(request, form.save(), backend="django.contrib.auth.backends.ModelBackend")
        return redirect("annotation:projects")
    return render(request, "registration/signup.html", {"form": form}, status=400 if form.errors else 200)


class ChoosePasswordMiddleware:
    """Leads a person who came in with a one-time password to choosing another, whatever page they open."""

    OPEN = frozenset(["password_change", "logout", "set_language"])

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponse | None:
        match = request.resolver_match
        if CHANGE_FIRST in request.session and match and match.url_name not in self.OPEN:
            return redirect("password_change")
        return None
