"""What docs, image and compose file say of a deployment fits the program; there is no engine here to build or run them."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings

from coral_site.env import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DEPLOY = (ROOT / "docs" / "deploy.md").read_text()


def value_of(variable: str) -> str:
    found = re.search(rf"\b{variable}=(\S+)", DOCKERFILE)
    assert found, variable
    return found[1]


def test_every_variable_that_is_named_is_a_setting() -> None:
    of_docker = {"CORAL_HOST"}  # read by the compose file alone
    for name, text in (
        ("Dockerfile", DOCKERFILE),
        ("compose.yaml", (ROOT / "compose.yaml").read_text()),
        ("docs", DEPLOY),
    ):
        named = set(re.findall(r"\bCORAL_[A-Z_]+\b", text))
        assert named - of_docker <= {setting.name for setting in SETTINGS}, name


def test_the_image_has_a_python_that_the_program_runs_on() -> None:
    found = re.search(r"^FROM python:(\d+)\.(\d+)-", DOCKERFILE, re.M)
    assert found
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={found[1]}.{found[2]}"


def test_the_image_installs_by_a_rule_of_the_makefile_with_hashes() -> None:
    found = re.search(r"make (\S+)", DOCKERFILE.split("RUN PIP_NO_CACHE_DIR")[1])
    assert found
    rules = (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv")
    rule = rules.split(f"\n{found[1]}:")[1].split("\n\n")[0]
    assert "--require-hashes -r requirements.lock" in rule
    ignored = (ROOT / ".dockerignore").read_text().split()
    for needed in re.findall(r"requirements[a-z-]*\.lock", rule):
        assert (ROOT / needed).is_file()
        assert needed not in ignored


def test_the_image_starts_the_program_as_a_user_of_its_own_and_asks_for_its_health() -> None:
    assert json.loads(DOCKERFILE.rpartition("\nCMD ")[2]) == ["coral", "up"]
    assert DOCKERFILE.index("\nUSER coral") < DOCKERFILE.index("HEALTHCHECK")
    port = value_of("CORAL_BIND").rpartition(":")[2]
    assert f"EXPOSE {port}" in DOCKERFILE
    assert f"http://127.0.0.1:{port}/healthz" in DOCKERFILE
    assert "127.0.0.1" in settings.ALLOWED_HOSTS


def test_the_services_share_database_broker_keys_and_data() -> None:
    web, worker = SERVICES["web"], SERVICES["worker"]
    assert web["environment"] == worker["environment"]
    assert worker["command"] == ["coral", "up", "--no-web"]
    assert web["volumes"] == worker["volumes"] == [f"data:{value_of('CORAL_DATA_DIR')}"]
    environment = web["environment"]
    assert environment["DATABASE_URL"].endswith("@database/coral")
    assert environment["REDIS_URL"].startswith("redis://broker:")
    assert set(web["depends_on"]) <= set(SERVICES)
    assert {"127.0.0.1", "localhost"} <= set(environment["CORAL_ALLOWED_HOSTS"].split(","))
    assert environment["CORAL_HTTPS"] == "${CORAL_HTTPS:-off}"


def test_only_this_machine_reaches_the_pages_until_a_proxy_stands_in_front() -> None:
    published = {name: service.get("ports", []) for name, service in SERVICES.items()}
    port = value_of("CORAL_BIND").rpartition(":")[2]
    assert published == {"web": [f"127.0.0.1:{port}:{port}"], "worker": [], "database": [], "broker": []}
