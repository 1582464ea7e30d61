"""Whatever is sent, the API answers: Schemathesis makes requests from the OpenAPI document, and none may end in a 500."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
import schemathesis
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from annotation.api import access
from annotation.api.urls import api
from annotation.views.rate_limit import RateLimit
from tests.annotation.views.test_permissions import ids_of
from tests.support.api import Program
from tests.support.pages import judge_rows, make_cast

pytestmark = pytest.mark.django_db

EXAMPLES = 6  # of each operation; 84 operations take about 30 s on a core
KNOWN = {"row_id": "sample", "member_id": "membership"}


def api_500() -> tuple[Counter[int], list[str]]:
    """How often each status was answered, and what was sent where it was 500 or more. Half of the requests name what there is,
    and every one is taken back."""
    cast = make_cast()
    judge_rows(cast.project)
    program, ids = Program(cast.users["owner"]), ids_of(cast)
    document = json.loads(json.dumps(api.get_openapi_schema()))
    document["paths"] = {path.removeprefix("/api/v1"): value for path, value in document["paths"].items()}
    statuses: Counter[int] = Counter()
    failed: list[str] = []

    def answer(case: Any, is_known: bool) -> None:
        if is_known:
            places = {
                name: ids.get(KNOWN.get(name, name.removesuffix("_id")), 1) for name in case.path_parameters
            }
            case.path_parameters |= places | {"project_id": cast.project.pk}
        sent = case.as_transport_kwargs(base_url="http://testserver")
        body = sent.get("data") if sent.get("json") is None else json.dumps(sent["json"])
        options = {"query_params": sent["params"]} if sent.get("params") else {}
        with transaction.atomic():
            status = program.send(
                sent["method"], sent["url"].removeprefix("http://testserver"), body, **options
            ).status_code
            transaction.set_rollback(True)
        statuses[status] += 1
        if status >= 500:
            failed.append(f"{sent['method']} {sent['url']} {body!r} {options}")

    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = result.ok()  # type: ignore[union-attr]
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            examples = settings(
                max_examples=EXAMPLES // 2,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            cases = operation.as_strategy(generation_mode=mode)
            seed(1)(examples(given(cases, st.booleans())(answer)))()
    return statuses, failed


def test_nothing_that_is_sent_ends_in_an_error_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "REQUESTS", RateLimit(100_000))
    statuses, failed = api_500()
    assert not failed
    assert statuses[200] > 20
    assert statuses[400] > 20
    assert statuses[404] > 20
