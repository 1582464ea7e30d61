"""Where files lie that all machines see, if not in one data folder: another folder, or an object store."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from coral_site.env import env_str

DATA = "data"
FILES = "django.core.files.storage.FileSystemStorage"
S3 = "storages.backends.s3.S3Storage"


def data_store() -> dict[str, Any]:
    """What Django's STORAGES says of the store that the environment names; nothing where it names none."""
    address = env_str(
        "CORAL_STORE",
        "",
        "Where machines without a shared data folder keep files: s3://bucket/folder, or file:///folder. Empty: in the data "
        "folder, which all machines then share.",
    )
    endpoint = env_str(
        "CORAL_STORE_ENDPOINT", "", "Address of an S3-compatible server other than Amazon's, such as MinIO's."
    )
    return store_at(address, endpoint)


def store_at(address: str, endpoint: str) -> dict[str, Any]:
    """What Django's STORAGES says of the store at an address; nothing where there is none.

    The keys of an object store come from where its library looks for them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a
    profile, or the machine's role.

    Raises:
        ImproperlyConfigured: the address is none, or the store's library is missing.
    """
    parts = urlsplit(address)
    if not address:
        return {}
    if parts.scheme == "file" and parts.path.startswith("/") and not parts.netloc:
        options = {"location": parts.path, "allow_overwrite": True, "file_permissions_mode": 0o600}
        return {DATA: {"BACKEND": FILES, "OPTIONS": options}}
    if parts.scheme != "s3" or not parts.netloc:
        raise ImproperlyConfigured(
            f"CORAL_STORE is {address!r}; it must be s3://bucket, s3://bucket/folder or file:///folder."
        )
    if find_spec("storages") is None or find_spec("boto3") is None:
        raise ImproperlyConfigured(
            "CORAL_STORE needs the package django-storages[s3]. Install it: pip install 'django-storages[s3]'."
        )
    bucket = {
        "bucket_name": parts.netloc,
        "location": parts.path.strip("/"),
        "endpoint_url": endpoint or None,
        "file_overwrite": True,
    }
    return {DATA: {"BACKEND": S3, "OPTIONS": bucket}}
