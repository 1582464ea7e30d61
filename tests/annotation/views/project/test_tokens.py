from __future__ import annotations

import pytest
from django.test import Client

from annotation.models import ApiToken
from annotation.pipeline.project.tokens import MOST_TOKENS
from tests.support.factories import make_user
from tests.support.pages import make_cast

pytestmark = pytest.mark.django_db


def test_a_token_is_shown_once_and_kept_as_a_digest() -> None:
    client = Client()
    client.force_login(make_user())
    page = client.post("/tokens/", {"name": "import", "scope": "read", "days": "30"}).content.decode()
    secret = page.partition('value="coral_')[2].partition('"')[0]
    token = ApiToken.objects.get()
    assert len(secret) > 40
    assert secret not in str(vars(token))
    assert f"coral_{secret}" not in client.get("/tokens/").content.decode()
    assert token.beginning in client.get("/tokens/").content.decode()
    assert token.expires_at


def test_a_token_is_revoked_by_its_user_alone() -> None:
    cast = make_cast()
    cast.client("owner").post("/tokens/", {"name": "mine", "scope": "write"})
    token = ApiToken.objects.get()
    assert cast.client("viewer").post(f"/tokens/{token.pk}/revoke/").status_code == 404
    assert cast.client("owner").post(f"/tokens/{token.pk}/revoke/").status_code == 302
    assert not ApiToken.objects.exists()


def test_one_token_too_many_is_refused_with_a_sentence() -> None:
    user = make_user()
    ApiToken.objects.bulk_create(ApiToken(user=user, digest=str(number)) for number in range(MOST_TOKENS))
    client = Client()
    client.force_login(user)
    answer = client.post("/tokens/", {"name": "one more", "scope": "read"})
    assert answer.status_code == 400
    assert "Revoke one first" in answer.content.decode()
