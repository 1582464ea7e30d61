from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import include, path
from django.views.decorators.http import require_POST
from django.views.i18n import set_language

from annotation.views import accounts, health, metrics

urlpatterns = [
    path("", include("annotation.urls")),
    path("api/v1/", include(("annotation.api.urls", "api"))),
    path("login/", accounts.LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("signup/", accounts.signup, name="signup"),
    path("password/", accounts.PasswordChangeView.as_view(), name="password_change"),
    path("language/", require_POST(set_language), name="set_language"),
    path("metrics", metrics.metrics, name="metrics"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    # One login page, with its limits, for the admin too.
    path("admin/login/", accounts.LoginView.as_view(), name="admin_login"),
    path("admin/", admin.site.urls),
]
