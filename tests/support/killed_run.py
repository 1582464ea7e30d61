"""A run in a process of its own that kills itself: ``python -m tests.support.killed_run FOLDER URL POINT``.

The first start makes a project of 200 rows in FOLDER; every further one goes on with its stage, as the reaper would have
a worker do. POINT is where the process kills itself by SIGKILL; ``never`` runs to the end and prints what is stored.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.endpoint_runs import make_project
from tests.bench.harness import open_program

ROWS = 200
BATCH_ROWS = 25
CALLS_AT_ONCE = 4
TOKEN = "hf_canary-token-of-a-run"


def kill_after(times: int) -> Callable[[], None]:
    left = [times]

    def die() -> None:
        left[0] -= 1
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def arm(point: str) -> None:
    """Put the kill where it is wanted."""
    from annotation.models.sql import insert_rows
    from annotation.pipeline.label import label_rows, second_question
    from mlcore.llm.endpoint.chat import ChatClient

    complete, store, store_second = (
        ChatClient.complete,
        label_rows.store_answers,
        second_question.store_second_answers,
    )
    at_call, at_batch = kill_after(ROWS // 2), kill_after(3)

    async def killed_call(self: ChatClient, *arguments: Any, **named: Any) -> Any:
        if point == "before the call":
            at_call()
        answer = await complete(self, *arguments, **named)
        if point == "after the answer":
            at_call()
        return answer

    def killed_insert(*arguments: Any, **named: Any) -> None:
        insert_rows(*arguments, **named)
        if point == "before the commit":
            at_batch()

    def killed_store(*arguments: Any, **named: Any) -> None:
        store(*arguments, **named)
        if point == "after the commit":
            at_batch()

    def killed_second(*arguments: Any, **named: Any) -> None:
        store_second(*arguments, **named)
        if point == "among the second questions":
            os.kill(os.getpid(), signal.SIGKILL)

    ChatClient.complete = killed_call  # type: ignore[method-assign]
    label_rows.insert_rows = killed_insert  # type: ignore[attr-defined]
    label_rows.store_answers = killed_store
    second_question.store_second_answers = killed_second


def main(folder: Path, url: str, point: str) -> None:
    open_program(folder)
    from annotation.jobs.work import work_on
    from annotation.models import Prediction, Stage
    from annotation.pipeline.iterate import start_round
    from annotation.pipeline.label import answer_cache, run_labeling
    from annotation.pipeline.project import configure

    answer_cache.BATCH_ROWS = BATCH_ROWS
    stage = Stage.objects.first()
    if stage is None:
        project = make_project(url, ROWS)
        config = project.llm_config.as_dict() | {"concurrency": CALLS_AT_ONCE}
        configure.set_llm(project, config=type(project.llm_config)(**config), token=TOKEN)
        stage = start_round.start_round(project, started_from="llm", user=None).stages.get()
    Stage.objects.update(status=Stage.Status.QUEUED)  # as the reaper does when the lease has run out
    arm(point)
    with work_on(stage.pk) as job:
        assert job is not None
        run_labeling.run_labeling(job)
    stored = Prediction.objects.filter(source="llm", error="").select_related("label", "sample")
    found = {each.sample.position: each.label.name if each.label else None for each in stored}
    stage.refresh_from_db()
    print(
        json.dumps({"status": stage.status, "rows": len(stored), "labels": found, "tokens": stage.tokens_in})
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
