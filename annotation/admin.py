"""The admin: to look things up and to mend memberships. What the pipeline owns is read-only here, and no secret is shown."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django.utils.timesince import timesince
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from annotation.jobs.turns import queue_of
from annotation.models import (
    AllowedHost,
    AuditDraw,
    Correction,
    DrainedMachine,
    Iteration,
    Label,
    Membership,
    OneTimePassword,
    Prediction,
    Project,
    Sample,
    Stage,
    Upload,
)
from annotation.models.secret import UnreadableSecret

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[misc,type-arg]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm

    def save_model(self, request: HttpRequest, user: User, form: Any, change: bool) -> None:
        """A new account's password is known to whoever made it, so it is good for one login."""
        super().save_model(request, user, form, change)
        if not change:
            OneTimePassword.objects.create(user=user, password=user.password)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):  # type: ignore[misc]
    pass


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]
    """Rows that only the pipeline may write: an edit by hand would break what the pages promise."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _json(field: str, title: Any) -> Any:
    """A read-only column of a JSON field as plain text."""

    def show(row: Any) -> str:
        return json.dumps(getattr(row, field), ensure_ascii=False)[:4_000]

    show.__name__ = f"{field}_text"
    return admin.display(description=title)(show)


class MembershipInline(TabularInline):  # type: ignore[misc]
    model = Membership
    extra = 0
    autocomplete_fields = ["user"]


class LabelInline(TabularInline):  # type: ignore[misc]
    model = Label
    extra = 0
    can_delete = False
    fields = ["position", "name", "description", "key", "colour"]
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


PROJECT_JSON = {
    "columns": _("columns"),
    "content_columns": _("content columns"),
    "column_kinds": _("column kinds"),
    "llm_settings": _("LLM settings"),
    "llm_capabilities": _("what the LLM server takes"),
    "llm_test": _("test of the connection"),
    "slm_settings": _("SLM settings"),
}


@admin.register(Project)
class ProjectAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ["name", "task_type", "owner", "rows", "created_at"]
    list_filter = ["task_type", "created_at"]
    search_fields = ["name", "owner__username"]
    list_select_related = ["owner"]
    date_hierarchy = "created_at"
    inlines = [MembershipInline, LabelInline]
    autocomplete_fields = ["owner"]
    exclude = ["llm_token", "llm_headers", *PROJECT_JSON]
    readonly_fields = [
        "task_type",
        *(_json(name, title) for name, title in PROJECT_JSON.items()),
        "id_column",
        "reference_column",
        "prompt_description",
        "prompt_demonstration",
        "prompt_output",
        "has_token",
        "chain_stages",
        "created_at",
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.display(description=_("rows"))
    def rows(self, project: Project) -> int:
        return project.samples.count()

    @admin.display(description=_("API token stored"), boolean=True)
    def has_token(self, project: Project) -> bool:
        return bool(project.llm_token) or isinstance(project.llm_token, UnreadableSecret)


@admin.register(Membership)
class MembershipAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ["user", "project", "role"]
    list_filter = ["role"]
    search_fields = ["user__username", "project__name"]
    list_select_related = ["user", "project"]
    autocomplete_fields = ["user", "project"]


@admin.register(Iteration)
class IterationAdmin(ReadOnlyAdmin):
    list_display = ["project", "number", "started_from", "created_by", "created_at"]
    list_filter = ["started_from", "created_at"]
    search_fields = ["project__name"]
    list_select_related = ["project", "created_by"]


@admin.register(Stage)
class StageAdmin(ReadOnlyAdmin):
    list_display = [
        "id",
        "project",
        "owner",
        "kind",
        "queue",
        "status",
        "waits",
        "worker",
        "requested_action",
        "done",
        "total",
        "attempt",
        "crashes",
        "lease_until",
        "updated_at",
    ]
    list_filter = ["status", "kind", "queued_at"]
    search_fields = ["project__name", "run_id", "error", "worker"]
    list_select_related = ["project__owner"]

    @admin.display(description=_("owner"), ordering="project__owner")
    def owner(self, stage: Stage) -> str:
        return str(stage.project.owner)

    @admin.display(description=_("queue"))
    def queue(self, stage: Stage) -> str:
        return queue_of(stage)

    @admin.display(description=_("waited"))
    def waits(self, stage: Stage) -> str:
        """From when it was queued to when it was taken up, or until now."""
        if stage.status == Stage.Status.QUEUED:
            return timesince(stage.queued_at)
        begun = stage.started_at and stage.started_at > stage.queued_at
        return timesince(stage.queued_at, stage.started_at) if begun else ""


@admin.register(Sample)
class SampleAdmin(ReadOnlyAdmin):
    list_display = [
        "number",
        "project",
        "shown_text",
        "label",
        "source",
        "confidence",
        "clean_prob",
        "flag",
        "corrected_by",
    ]
    list_filter = ["source", "flag"]
    search_fields = ["=external_id", "text"]
    list_select_related = ["project", "label", "corrected_by"]

    @admin.display(description=_("text"))
    def shown_text(self, sample: Sample) -> str:
        return sample.text if len(sample.text) <= 120 else sample.text[:120] + " …"


@admin.register(Prediction)
class PredictionAdmin(ReadOnlyAdmin):
    list_display = ["id", "iteration", "source", "sample_id", "label", "clean_prob", "flag", "error"]
    list_filter = ["source", "flag"]
    search_fields = ["=sample__external_id", "error"]
    list_select_related = ["iteration__project", "label"]


@admin.register(Correction)
class CorrectionAdmin(ReadOnlyAdmin):
    list_display = [
        "id",
        "sample_id",
        "user",
        "label",
        "replaced_label",
        "replaced_source",
        "because",
        "round",
        "created_at",
    ]
    list_filter = ["because", "created_at"]
    search_fields = ["user__username", "label__name", "=sample__external_id"]
    list_select_related = ["user", "label", "replaced_label"]


@admin.register(AuditDraw)
class AuditDrawAdmin(ReadOnlyAdmin):
    list_display = ["id", "project", "draw_number", "round", "stratum", "sample_id", "drawn_by", "drawn_at"]
    list_filter = ["drawn_at"]
    search_fields = ["project__name"]
    list_select_related = ["project", "drawn_by"]


@admin.register(Upload)
class UploadAdmin(ReadOnlyAdmin):
    list_display = ["name", "project", "size", "created_by", "created_at"]
    list_filter = ["created_at"]
    search_fields = ["name", "project__name", "sha256"]
    list_select_related = ["project", "created_by"]
    exclude = ["stored_name"]


@admin.register(AllowedHost)
class AllowedHostAdmin(ModelAdmin):  # type: ignore[misc]
    """Counts from the next call on, without a restart."""

    list_display = ["host", "note", "added_at"]
    search_fields = ["host", "note"]


@admin.register(DrainedMachine)
class DrainedMachineAdmin(ModelAdmin):  # type: ignore[misc]
    """Its workers stop within half a minute, and take work again once the row is deleted."""

    list_display = ["name", "note", "since"]
    search_fields = ["name", "note"]
