"""The broker's entry point: the id of a waiting stage in, the work of the one whose turn it is, nothing else.

The pipeline is imported when a stage's work begins, so that a process that only sends messages loads no model code.
There are no retries and no time limit here: the reaper over the stage rows is the retry, the lease is the limit.
"""

from __future__ import annotations

import dramatiq

from annotation.jobs import work
from annotation.jobs.broker import ACTOR
from annotation.jobs.turns import queues

#: Names under which versions up to 0.1 queued stages. Messages that waited during an update are answered all the same.
OLD_NAMES = (
    "import_file",
    "label_corpus",
    "train_student",
    "try_rows",
    "export_file",
    "correct_rows",
    "restore_round",
    "delete_project",
)


def run_stage(stage_id: int) -> None:
    work.run_next(stage_id)


for _name in (ACTOR, *OLD_NAMES):
    dramatiq.actor(run_stage, actor_name=_name, queue_name="files", max_retries=0)
for _queue in queues():
    dramatiq.get_broker().declare_queue(_queue)
