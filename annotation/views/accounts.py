"""Accounts: logging in and out comes from Django; making an account is closed unless the operator opens it."""

from __future__ import annotations

from typing import Any

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

from annotation.forms.team import SignupForm


class LoginView(views.LoginView):
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """A first login came with a password that somebody else has seen, so it leads to choosing another."""
        is_first = form.get_user().last_login is None
        answer = super().form_valid(form)
        if not is_first:
            return answer
        messages.info(
            self.request, _("Welcome. You logged in with a one-time password; choose your own now.")
        )
        return redirect("password_change")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"signup_open": settings.SIGNUP_OPEN}


class PasswordChangeView(views.PasswordChangeView):
    success_url = reverse_lazy("annotation:projects")

    def form_valid(self, form: Any) -> HttpResponse:
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
