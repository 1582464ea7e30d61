"""The address of the store is checked when the program starts."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from coral_site import data_store
from coral_site.data_store import store_at


def test_without_an_address_there_is_no_store() -> None:
    assert store_at("", "") == {}


@pytest.mark.parametrize(
    "address", ["/mnt/coral", "s3://", "file://host/folder", "file:folder", "gs://bucket"]
)
def test_an_address_that_is_none_is_refused_with_those_that_are(address: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="s3://bucket, s3://bucket/folder or file:///folder"):
        store_at(address, "")


def test_a_missing_library_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_store, "find_spec", lambda name: None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'django-storages\[s3\]'"):
        store_at("s3://bucket", "")


def test_a_bucket_may_hold_other_things_beside_our_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_store, "find_spec", lambda name: object())
    options = store_at("s3://bucket/teams/coral/", "https://minio.example")["data"]["OPTIONS"]
    assert (options["bucket_name"], options["location"]) == ("bucket", "teams/coral")
    assert options["endpoint_url"] == "https://minio.example"
    assert store_at("s3://bucket", "")["data"]["OPTIONS"]["endpoint_url"] is None
