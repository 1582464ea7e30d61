"""Whatever a page can do, a program can: every page that takes a POST, and the operation that does the same."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from annotation.api.urls import api
from tests.annotation.views.test_permissions import TABLE, ids_of
from tests.support.api import Program
from tests.support.pages import ROLES, judge_rows, make_cast

P = "/projects/{project_id}"
OPERATIONS: dict[str, list[tuple[str, str]]] = {
    "create_project": [("post", "/projects")],
    "put_away": [("post", f"{P}/archive")],
    "take_back": [("post", f"{P}/restore")],
    "delete_project": [("delete", P)],
    "configure_task": [("patch", P)],
    "upload_file": [("post", f"{P}/uploads"), ("post", f"{P}/rows")],
    "configure_columns": [
        ("patch", f"{P}/uploads/{{upload_id}}"),
        ("post", f"{P}/uploads/{{upload_id}}/import"),
    ],
    "take_edits": [("post", f"{P}/uploads/{{upload_id}}/edits")],
    "take_labels": [("post", f"{P}/given-labels")],
    "remove_upload": [("delete", f"{P}/uploads/{{upload_id}}")],
    "configure_labels": [("put", f"{P}/labels")],
    "merge_labels": [("post", f"{P}/labels/merge")],
    "configure_prompt": [("put", f"{P}/prompt")],
    "preview_prompt": [("post", f"{P}/prompt/preview")],
    "configure_models": [("patch", f"{P}/models"), ("post", f"{P}/models/test")],
    "start_comparison": [("post", f"{P}/comparison")],
    "add_connection": [("post", f"{P}/connections")],
    "edit_connection": [
        ("patch", f"{P}/connections/{{connection_id}}"),
        ("post", f"{P}/connections/{{connection_id}}/test"),
    ],
    "remove_connection": [("delete", f"{P}/connections/{{connection_id}}")],
    "configure_start": [("put", f"{P}/goal"), ("post", f"{P}/rounds")],
    "start_trial": [("post", f"{P}/trial")],
    "set_budget": [("put", f"{P}/budget"), ("post", f"{P}/stages/{{stage_id}}/resume")],
    "start_filtering": [("post", f"{P}/filtering")],
    "label_new_rows": [("post", f"{P}/model/new-rows")],
    "pause_stage": [("post", f"{P}/stages/{{stage_id}}/pause")],
    "cancel_stage": [("post", f"{P}/stages/{{stage_id}}/cancel")],
    "resume_stage": [("post", f"{P}/stages/{{stage_id}}/resume")],
    "save_filter": [("post", f"{P}/filters")],
    "remove_filter": [("delete", f"{P}/filters/{{filter_id}}")],
    "correct_many": [("post", f"{P}/bulk-corrections/reach"), ("post", f"{P}/bulk-corrections")],
    "undo_many": [("post", f"{P}/bulk-corrections/{{batch_id}}/undo")],
    "correct_sample": [("post", f"{P}/rows/{{row_id}}/correction")],
    "focus_next": [("post", f"{P}/queue")],
    "focus_answer": [("post", f"{P}/rows/{{row_id}}/answer")],
    "load_sample": [("post", "/sample-project")],
    "mark_sample": [("put", f"{P}/rows/{{row_id}}/mark")],
    "focus_unclear": [("post", f"{P}/rows/{{row_id}}/unclear")],
    "focus_skip": [("post", f"{P}/rows/{{row_id}}/skip")],
    "focus_undo": [("post", f"{P}/queue/undo")],
    "start_round": [("post", f"{P}/rounds")],
    "restore_round": [("post", f"{P}/rounds/{{round_id}}/restore")],
    "draw_audit": [("post", f"{P}/audit-draws")],
    "begin_step": [("post", f"{P}/goal/step")],
    "change_goal": [("put", f"{P}/goal")],
    "make_certificate": [("post", f"{P}/certificate")],
    "start_export": [("post", f"{P}/exports")],
    "add_member": [("post", f"{P}/members")],
    "change_role": [("patch", f"{P}/members/{{member_id}}")],
    "remove_member": [("delete", f"{P}/members/{{member_id}}")],
    "invite": [("post", f"{P}/invitations")],
    "revoke_invitation": [("delete", f"{P}/invitations/{{invitation_id}}")],
    "guidelines": [("put", f"{P}/guidelines")],
    "add_webhook": [("post", f"{P}/webhooks")],
    "remove_webhook": [("delete", f"{P}/webhooks/{{webhook_id}}")],
    "call_webhooks": [("post", f"{P}/webhook-calls")],
}
#: What only a page does, and why.
PAGE_ONLY = {
    "login": "A program signs in with a token.",
    "logout": "A program signs in with a token.",
    "signup": "An account is made by the person it belongs to.",
    "password_change": "A stolen token must not lead to the account.",
    "tokens": "A stolen token must not make another one.",
    "revoke_token": "A stolen token must not revoke the others.",
    "join": "Whoever follows an invitation reads first what they join.",
    "set_language": "A program says its language with every request.",
    "choose_columns": "It changes what the person's own table shows; a program gets all columns.",
}
#: What an operation asks for before it asks who it is; a file is never sent.
BODIES: dict[str, Any] = {
    "/rows": {"rows": [{"text": "x"}]},
    "/labels": {"labels": []},
    "/labels/merge": {"label": "positive"},
    "/given-labels": {"label_columns": ["truth"], "use": "coarse"},
    "/rounds": {"started_from": "llm"},
    "/rows/{row_id}/answer": {
        "id": "c5b9f6d2-6b43-4b6c-9d5a-0f2d3a1b7e10",
        "label": "positive",
        "version": 0,
        "because": "queue",
    },
    "/queue/undo": {"undo_id": "c5b9f6d2-6b43-4b6c-9d5a-0f2d3a1b7e10"},
    "/audit-draws": {"rows": 10},
    "/exports": {"format": "csv"},
    "/members": {"username": "stranger", "role": "viewer"},
    "/members/{member_id}": {"role": "viewer"},
    "/invitations": {"role": "viewer", "days": 7},
    "/filters": {"name": "mine"},
    "/webhooks": {"address": "http://127.0.0.1:1/"},
}
IDS = {"row_id": "sample", "member_id": "membership"}


def posting(patterns: list[Any]) -> set[str]:
    """The names of the pages that take a POST, as they themselves tell."""
    found: set[str] = set()
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            if pattern.namespace not in ("admin", "api"):
                found |= posting(pattern.url_patterns)
        elif isinstance(pattern, URLPattern) and takes_post(pattern.callback):
            found.add(str(pattern.name))
    return found - {"admin_login", "healthz", "readyz", "metrics"}


def takes_post(view: Any) -> bool:
    """By the view's own guard: ``require_http_methods`` keeps its methods in a closure."""
    if hasattr(view, "view_class"):
        return hasattr(view.view_class, "post")
    while view is not None:
        for cell in getattr(view, "__closure__", None) or ():
            methods = cell.cell_contents
            if isinstance(methods, list | tuple) and set(methods) <= {"GET", "HEAD", "POST"} and methods:
                return "POST" in methods
        view = getattr(view, "__wrapped__", None)
    return True


def api_covers_pages() -> float:
    """The share of the pages' actions that an operation does, too; those that only a page may do are left out."""
    paths = api.get_openapi_schema()["paths"]
    there = {(method, path.removeprefix("/api/v1")) for path, methods in paths.items() for method in methods}
    actions = posting(get_resolver().url_patterns) - PAGE_ONLY.keys()
    covered = {name for name in actions if name in OPERATIONS and there.issuperset(OPERATIONS[name])}
    return len(covered) / len(actions)


def test_the_tables_name_pages_that_there_are() -> None:
    pages = posting(get_resolver().url_patterns)
    assert pages >= {"login", "join", "signup", "correct_sample", "create_project", "focus_answer"}
    assert not pages & {"projects", "review", "left_out_rows", "download_export"}
    assert OPERATIONS.keys() | PAGE_ONLY.keys() == pages


def test_the_api_covers_the_pages() -> None:
    assert api_covers_pages() == 1.0


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["stranger", "viewer", "reviewer"])
def test_an_operation_asks_for_the_role_that_its_page_asks_for(role: str) -> None:
    """Nobody gets further by the API: where the page is hidden or refused, so is the operation, whatever is sent."""
    cast = make_cast()
    judge_rows(cast.project)
    ids = ids_of(cast)
    program = Program(cast.users[role])
    for name, operations in OPERATIONS.items():
        access = TABLE.get(f"annotation:{name}")
        if access is None or access.least == "user" or access.away:
            continue
        for method, path in operations:
            names = {key: ids.get(IDS.get(key, key.removesuffix("_id")), 0) for key in ALL_IDS}
            body = BODIES.get(path.removeprefix(P), {})
            answer = program.send(method, path.format(**names | {"project_id": cast.project.pk}), body)
            least = "owner" if name in ("guidelines", "configure_start") else access.least
            if role == "stranger":
                assert answer.status_code == 404, path
            elif ROLES.index(role) < ROLES.index(least):
                assert answer.status_code == (400 if path.endswith("/uploads") else 403), path


ALL_IDS = (
    *("upload_id", "connection_id", "stage_id", "filter_id", "batch_id", "row_id", "round_id"),
    *("member_id", "invitation_id", "webhook_id"),
)
