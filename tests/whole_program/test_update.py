"""A project of version 0.1 (commit 0ba7147), as SQL text, brought up to this version: nothing is lost, every page opens."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from mlcore.verdict.review_order import RISKY

pytestmark = pytest.mark.slow

DUMP = Path(__file__).parent / "data" / "version_0_1.sql"
KEPT = {
    "annotation_sample": "position, text, fields, label_id, source, llm_label_id, slm_label_id, risk, version",
    "annotation_prediction": "sample_id, iteration_id, source, label_id, probs, calibrated, raw, second_raw, error",
    "annotation_correction": "sample_id, user_id, label_id, replaced_label_id, replaced_source, because, batch_id",
    "annotation_correctionbatch": "user_id, label_id, query, samples, undoes_id, stage_id",
    "annotation_iteration": "number, labels, prompt, demonstrations, metrics",
    "annotation_stage": "iteration_id, kind, status, done, total, phase, attempt, error, detail, run_id",
    "annotation_auditdraw": "sample_id, project_id",
    "annotation_cachedanswer": "key, label, probs, raw, tokens_in, tokens_out, created_at, owner_id",
}
PAGES = [
    "configure/data/",
    "configure/labels/",
    "configure/prompt/",
    "configure/models/",
    "configure/start/",
    "configure/trial/",
    "labeling/",
    "filtering/",
    "filtering/plots/",
    "review/",
    "review/?show=wrong",
    "focus/",
    "accuracy/",
    "rounds/",
    "export/",
    "members/activity/",
    "members/",
    "labeling/?round=1",
    "filtering/?round=1",
]
LOOK = """
import json, sys
import django
django.setup()
from django.conf import settings

from mlcore.verdict.review_order import RISKY
settings.ALLOWED_HOSTS = ["testserver"]
from django.contrib.auth.models import User
from django.test import Client
from annotation.jobs.details import stage_cost
from annotation.jobs.round_metrics import RoundMetrics
from annotation.jobs.kinds import detail_of
from annotation.models import Iteration, Project, Stage

client = Client()
client.force_login(User.objects.get(username="olga"))
pages = {"/": client.get("/").status_code}
for project in Project.objects.all():
    for path in sys.argv[1:]:
        address = f"/projects/{project.pk}/{path}"
        pages[address] = client.get(address).status_code
details = {stage.pk: {"kind": stage.kind, **vars(detail_of(stage))} for stage in Stage.objects.all()}
groups = {stage.pk: [stage.kind, stage.exclusive_group, stage.requested_action] for stage in Stage.objects.all()}
accuracy = [RoundMetrics.of(round).final.accuracy for round in Iteration.objects.order_by("pk")]
costs = [stage_cost(stage) for stage in Stage.objects.all()]
print(json.dumps({"pages": pages, "details": details, "groups": groups, "accuracy": accuracy, "costs": costs}))
"""


def rows(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as database:
        return {
            table: database.execute(f"SELECT id, {columns} FROM {table} ORDER BY id").fetchall()
            for table, columns in KEPT.items()
        }


def flags_of_open_rows(path: Path) -> set[tuple[bool, str]]:
    """Whether the risk is low, and the flag: flags were not the risk's before version 0.2."""
    with closing(sqlite3.connect(path)) as database:
        judged = database.execute(
            "SELECT risk, flag FROM annotation_sample WHERE risk IS NOT NULL AND source != 'person'"
        ).fetchall()
    assert judged
    return {(risk <= RISKY, flag) for risk, flag in judged}


def run(folder: Path, *command: str) -> str:
    environment = {
        **os.environ,
        "CORAL_DATA_DIR": str(folder),
        "DATABASE_URL": "",
        "DJANGO_SETTINGS_MODULE": "coral_site.settings",
    }
    done = subprocess.run(
        [sys.executable, *command], env=environment, cwd=settings.BASE_DIR, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout


def test_a_project_of_the_version_before_keeps_its_data_and_opens_every_page(tmp_path: Path) -> None:
    path = tmp_path / "coral.sqlite3"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(DUMP.read_text(encoding="utf-8"))
        wishes = database.execute("SELECT id, wish FROM annotation_stage ORDER BY id").fetchall()
    before = rows(path)
    assert len(before["annotation_stage"]) == 14
    run(tmp_path, "manage.py", "migrate", "--verbosity", "0")
    assert rows(path) == before
    assert flags_of_open_rows(path) <= {(True, "right"), (False, "inconsistent"), (False, "wrong")}
    run(tmp_path, "manage.py", "collectstatic", "--noinput", "--verbosity", "0")
    seen = json.loads(run(tmp_path, "-c", LOOK, *PAGES).splitlines()[-1])
    assert {page: status for page, status in seen["pages"].items() if status != 200} == {}
    assert [(int(pk), action) for pk, (_kind, _group, action) in sorted_by_id(seen["groups"])] == wishes
    corpus = {"import", "llm", "slm", "restore"}
    for _pk, (kind, group, _action) in sorted_by_id(seen["groups"]):
        assert group == ("corpus" if kind in corpus else "trial" if kind == "trial" else "")
    by_kind = {detail["kind"]: detail for _pk, detail in sorted_by_id(seen["details"])}
    assert (by_kind["import"]["imported"], by_kind["import"]["rejected"]) == (6, 1)
    assert by_kind["trial"]["rows"]
    assert by_kind["trial"]["estimate"]
    assert by_kind["restore"]["round"] == 1
    trained = next(detail for _pk, detail in sorted_by_id(seen["details"]) if detail["kind"] == "slm")
    assert trained["unreadable_by_label"] == [0, 1]
    assert by_kind["llm"]["calls"]["failures"] == {"limited": 2}
    assert seen["accuracy"][0] is not None
    assert any(cost is not None for cost in seen["costs"])


def sorted_by_id(found: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(found.items(), key=lambda item: int(item[0]))
