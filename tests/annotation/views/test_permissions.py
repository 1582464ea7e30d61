"""Every URL of the program, and who may use it. A URL without a row here fails the first test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from django.conf import settings
from django.core import serializers
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from annotation.jobs import kinds
from annotation.models import (
    ApiToken,
    Connection,
    Correction,
    CorrectionBatch,
    Invitation,
    Iteration,
    Project,
    Sample,
    SavedFilter,
    Stage,
    Upload,
    Webhook,
)
from annotation.pipeline.project.tokens import make_token
from tests.support.factories import make_project, make_user
from tests.support.pages import ROLES, Cast, judge_rows, make_cast

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class Access:
    """How a URL is asked for and the smallest role that may: everyone, user, viewer, reviewer or owner. ``away``: of a project
    that was put away."""

    method: str
    least: str
    names: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    away: bool = False


STAGE = {"stage_id": "stage"}
VIEW, OWN, CHANGE = Access("get", "viewer"), Access("get", "owner"), Access("post", "owner")
TABLE: dict[str, Access] = {
    "login": Access("get", "everyone"),
    "logout": Access("post", "everyone"),
    "signup": Access("get", "nobody"),
    "password_change": Access("get", "user"),
    "set_language": Access("post", "everyone", {}, {"language": "zh-hans"}),
    "annotation:help": Access("get", "user"),
    "healthz": Access("get", "everyone"),
    "readyz": Access("get", "everyone"),
    "metrics": Access("get", "nobody"),
    "admin_login": Access("get", "everyone"),
    "annotation:projects": Access("get", "user"),
    "annotation:create_project": Access("get", "user"),
    "annotation:project": VIEW,
    "annotation:load_sample": Access("post", "user"),
    "annotation:configure": OWN,
    "annotation:configure_task": OWN,
    "annotation:configure_data": OWN,
    "annotation:upload_file": CHANGE,
    "annotation:configure_columns": Access("get", "owner", {"upload_id": "upload"}),
    "annotation:left_out_rows": Access("get", "viewer", {"upload_id": "upload"}),
    "annotation:take_edits": Access("post", "owner", {"upload_id": "upload"}),
    "annotation:take_labels": CHANGE,
    "annotation:remove_upload": Access("post", "owner", {"upload_id": "upload"}),
    "annotation:configure_labels": OWN,
    "annotation:merge_labels": CHANGE,
    "annotation:configure_prompt": OWN,
    "annotation:preview_prompt": CHANGE,
    "annotation:configure_models": OWN,
    "annotation:configure_start": OWN,
    "annotation:goal": VIEW,
    "annotation:certificate": VIEW,
    "annotation:make_certificate": Access("post", "reviewer"),
    "annotation:certificate_json": VIEW,
    "annotation:change_goal": CHANGE,
    "annotation:begin_step": Access("post", "reviewer"),
    "annotation:labeling": VIEW,
    "annotation:trial": OWN,
    "annotation:start_trial": CHANGE,
    "annotation:connections": OWN,
    "annotation:start_comparison": CHANGE,
    "annotation:add_connection": OWN,
    "annotation:edit_connection": Access("get", "owner", {"connection_id": "connection"}),
    "annotation:remove_connection": Access("post", "owner", {"connection_id": "connection"}),
    "annotation:set_budget": CHANGE,
    "annotation:filtering": VIEW,
    "annotation:start_filtering": CHANGE,
    "annotation:filtering_plots": VIEW,
    "annotation:model": VIEW,
    "annotation:download_model": VIEW,
    "annotation:label_new_rows": CHANGE,
    "annotation:stage_progress": Access("get", "viewer", STAGE),
    "annotation:pause_stage": Access("post", "owner", STAGE),
    "annotation:cancel_stage": Access("post", "owner", STAGE),
    "annotation:resume_stage": Access("post", "owner", STAGE),
    "annotation:review": VIEW,
    "annotation:sample_text": Access("get", "viewer", {"sample_id": "sample"}),
    "annotation:correct_sample": Access("post", "reviewer", {"sample_id": "sample"}),
    "annotation:choose_columns": Access("post", "viewer"),
    "annotation:save_filter": Access("post", "viewer", {}, {"name": "mine", "query": "?show=wrong"}),
    "annotation:remove_filter": Access("post", "viewer", {"filter_id": "filter"}),
    "annotation:correct_many": Access("get", "reviewer", {}, {"matching": "1"}),
    "annotation:undo_many": Access("post", "reviewer", {"batch_id": "batch"}),
    "annotation:focus": Access("get", "reviewer"),
    "annotation:focus_next": Access("post", "reviewer"),
    "annotation:focus_answer": Access("post", "reviewer"),
    "annotation:focus_skip": Access("post", "reviewer"),
    "annotation:focus_undo": Access("post", "reviewer"),
    "annotation:mark_sample": Access("post", "reviewer", {"sample_id": "sample"}),
    "annotation:focus_unclear": Access("post", "reviewer"),
    "annotation:rounds": VIEW,
    "annotation:start_round": CHANGE,
    "annotation:restore_round": Access("post", "owner", {"iteration_id": "round"}),
    "annotation:round_flips": Access("get", "viewer", {"iteration_id": "round"}),
    "annotation:accuracy": VIEW,
    "annotation:draw_audit": Access("post", "reviewer"),
    "annotation:export": VIEW,
    "annotation:start_export": Access("post", "viewer", {}, {"format": "csv"}),
    "annotation:download_export": Access("get", "viewer", {"stage_id": "export"}),
    "annotation:members": VIEW,
    "annotation:add_member": CHANGE,
    "annotation:change_role": Access("post", "owner", {"membership_id": "membership"}, {"role": "viewer"}),
    "annotation:remove_member": Access("post", "owner", {"membership_id": "membership"}),
    "annotation:invite": Access("post", "owner", {}, {"role": "viewer", "days": 7}),
    "annotation:revoke_invitation": Access("post", "owner", {"invitation_id": "invitation"}),
    "annotation:activity": OWN,
    "annotation:guidelines": VIEW,
    "annotation:put_away": CHANGE,
    "annotation:delete_project": Access("post", "owner", away=True),
    "annotation:take_back": Access("post", "owner", away=True),
    "annotation:webhooks": OWN,
    "annotation:add_webhook": CHANGE,
    "annotation:call_webhooks": CHANGE,
    "annotation:remove_webhook": Access("post", "owner", {"webhook_id": "webhook"}),
    "annotation:tokens": Access("get", "user"),
    "annotation:revoke_token": Access("post", "user", {"token_id": "token"}),
    "annotation:join": Access("get", "nobody"),  # a wrong secret; the right one is tried in test_team.py
}


def url_names(patterns: list[Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            if pattern.namespace not in ("admin", "api"):  # see tests/annotation/api/test_coverage.py
                found += url_names(
                    pattern.url_patterns, f"{pattern.namespace}:" if pattern.namespace else prefix
                )
        elif isinstance(pattern, URLPattern):
            found.append(f"{prefix}{pattern.name}")
    return found


def test_every_url_has_a_row_in_the_table() -> None:
    assert sorted(url_names(get_resolver().url_patterns)) == sorted(TABLE)


@pytest.fixture
def cast() -> Cast:
    cast = make_cast()
    judge_rows(cast.project)
    return cast


def address_of(name: str, cast: Cast, ids: dict[str, int]) -> str:
    if name == "annotation:join":
        return reverse(name, args=["secret"])
    kwargs = {"project_id": cast.project.pk} if name.startswith("annotation:") else {}
    kwargs |= {argument: ids[thing] for argument, thing in TABLE[name].names.items()}
    if TABLE[name].least == "user":
        kwargs.pop("project_id", None)
    return reverse(name, kwargs=kwargs)


def ids_of(cast: Cast) -> dict[str, int]:
    upload = Upload.objects.create(
        project=cast.project,
        name="x.csv",
        stored_name="x",
        size=1,
        sha256="0",
        reading={"format": "csv", "sheets": []},
    )
    settings.EXPORT_DIR.mkdir(exist_ok=True)
    (settings.EXPORT_DIR / "stored.csv").write_text("text")
    export = Stage.objects.create(
        project=cast.project,
        kind=kinds.EXPORT.key,
        status=Stage.Status.DONE,
        detail={"format": "csv", "stored": "stored.csv"},
    )
    invitation = Invitation.objects.create(
        project=cast.project, role="viewer", digest=str(cast.project.pk), expires_at=cast.project.created_at
    )
    sample = cast.project.samples.first()
    stage = cast.project.stages.filter(kind=kinds.SLM.key).get()
    assert sample is not None
    return {
        "upload": upload.pk,
        "sample": sample.pk,
        "stage": stage.pk,
        "export": export.pk,
        "filter": SavedFilter.objects.create(
            project=cast.project, owner=cast.project.owner, name="shared", is_shared=True
        ).pk,
        "batch": CorrectionBatch.objects.create(project=cast.project, user=cast.project.owner).pk,
        "invitation": invitation.pk,
        "webhook": Webhook.objects.create(project=cast.project, address="http://127.0.0.1:1/").pk,
        "token": make_token(cast.project.owner, name="x", scope="read", days=None)[0].pk,
        "membership": cast.project.memberships.get(role="viewer").pk,
        "round": cast.project.iterations.get().pk,
        "connection": Connection.objects.create(project=cast.project, name="another").pk,
    }


def outcome(status: int, location: str) -> str:
    if status in (403, 404):
        return {403: "refused", 404: "hidden"}[status]
    return "login" if location.startswith("/login/") else "allowed"


def expected(least: str, role: str) -> str:
    if least == "everyone":
        return "allowed"
    if least == "nobody":
        return "hidden"
    if role == "anonymous":
        return "login"
    if least == "user":
        return "allowed"
    if role == "stranger":
        return "hidden"
    return "allowed" if ROLES.index(role) >= ROLES.index(least) else "refused"


@pytest.mark.parametrize("role", ROLES)
def test_each_role_reaches_what_it_may_and_nothing_else(role: str, cast: Cast) -> None:
    ids = ids_of(cast)
    seen = {}
    ApiToken.objects.update(user=cast.users.get(role, cast.project.owner))
    for name, access in TABLE.items():
        client = cast.client(role)
        Project.objects.update(put_away_at=timezone.now() if access.away else None)
        answer = getattr(client, access.method)(address_of(name, cast, ids), access.data)
        if name == "logout":
            assert answer.status_code == 302
            continue
        if name == "annotation:remove_member" and role == "owner":
            assert not cast.project.memberships.filter(pk=ids["membership"]).exists()
        seen[name] = outcome(answer.status_code, answer.get("Location", ""))
        assert answer.status_code < 500
    assert seen == {name: expected(access.least, role) for name, access in TABLE.items() if name != "logout"}


@pytest.mark.parametrize("name", [name for name, access in TABLE.items() if access.method == "post"])
def test_what_changes_something_rejects_get(name: str, cast: Cast) -> None:
    assert cast.client("owner").get(address_of(name, cast, ids_of(cast))).status_code == 405


def test_a_htmx_request_reaches_no_more_than_a_plain_one(cast: Cast) -> None:
    ids = ids_of(cast)
    for name, access in TABLE.items():
        if access.least in ("viewer", "reviewer", "owner"):
            ask = getattr(cast.client("stranger"), access.method)
            assert (
                ask(address_of(name, cast, ids), access.data, headers={"hx-request": "true"}).status_code
                == 404
            ), name


def test_the_ids_of_another_project_are_hidden_even_from_its_own_owner(cast: Cast) -> None:
    other = make_cast_of_other_users()
    judge_rows(other.project)
    ids = ids_of(other)
    for name, access in TABLE.items():
        if access.names:
            answer = getattr(cast.client("owner"), access.method)(address_of(name, cast, ids), access.data)
            assert answer.status_code == 404, name


def make_cast_of_other_users() -> Cast:
    owner = make_user("other")
    project = make_project(rows=12, owner=owner)
    project.memberships.create(user=make_user("other viewer"), role="viewer")
    return Cast(project, {"owner": owner})


def test_a_post_without_the_csrf_token_changes_nothing(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.users["owner"])
    sample = cast.project.samples.get(position=0)
    answer = client.post(
        cast.url(f"samples/{sample.pk}/correct/"), {"label": cast.project.label_list()[1].pk}
    )
    assert answer.status_code == 403
    sample.refresh_from_db()
    assert sample.version == 0


def test_no_page_is_changed_by_looking_at_it(cast: Cast) -> None:
    ids = ids_of(cast)

    def everything() -> str:
        rows = [
            row
            for model in (Project, Iteration, Stage, Sample, Correction, Upload)
            for row in model.objects.order_by("pk")
        ]
        return str(serializers.serialize("json", rows))

    before = everything()
    for name, access in TABLE.items():
        if access.method == "get":
            cast.client("owner").get(address_of(name, cast, ids))
    assert everything() == before


def test_pages_of_a_member_are_kept_by_no_cache(cast: Cast) -> None:
    header = cast.client("viewer").get(cast.url("review/"))["Cache-Control"]
    assert "no-store" in header
    assert "private" in header
