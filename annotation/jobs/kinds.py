"""The kinds of jobs. A new kind is one entry here and the function that its ``run`` names; the database knows no kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from annotation.jobs import details, sentences
from annotation.jobs.kind import JobKind
from annotation.jobs.webhook_detail import WebhookDetail

if TYPE_CHECKING:
    from annotation.models import Stage

#: The group of the jobs that change a project's rows or the labels on them.
CORPUS = "corpus"


def kind_of(stage: Stage) -> JobKind:
    """The stage's kind. One that a newer version stored has its key for a name and no work to do."""
    return KINDS.get(stage.kind) or JobKind(key=stage.kind, name=stage.kind, queue="", run="")


def detail_of(stage: Stage) -> Any:
    """The stage's detail, in the type of its kind."""
    return kind_of(stage).detail.of(stage)


def kind_name(stage: Stage) -> str:
    return str(kind_of(stage).name)


def keys(chosen: Callable[[JobKind], bool]) -> list[str]:
    """The keys of the chosen kinds, for queries."""
    return [key for key, kind in KINDS.items() if chosen(kind)]


IMPORT = JobKind(
    key="import",
    name=_("Import"),
    run="annotation.pipeline.ingest.start_import.run_import",
    follow="annotation.pipeline.ingest.start_import.import_next",
    page="configure_data",
    detail=details.ImportDetail,
    exclusive_group=CORPUS,
    is_step=True,
    changes_counts=True,
    phases={"reading": _("Reading the file.")},
    sentences=sentences.IMPORT_STATES,
)

REFERENCES = JobKind(
    key="references",
    name=_("Reference labels"),
    run="annotation.pipeline.ingest.reference_labels.run_matching",
    exclusive_group=CORPUS,
)

LLM = JobKind(
    key="llm",
    name=_("LLM labeling"),
    queue="llm",
    run="annotation.pipeline.label.run_labeling.run_labeling",
    counts_rows=True,
    takes_turns=True,
    follow="annotation.pipeline.distill.start_distillation.follow_labeling",
    after_cancel="annotation.pipeline.label.batches.cancel_batches",
    page="labeling",
    detail=details.LabelingDetail,
    exclusive_group=CORPUS,
    is_step=True,
    phases=sentences.LABELING_PHASES,
    sentences={"done": sentences.labelled},
)

GIVEN = JobKind(
    key="given",
    name=_("Taking of existing labels"),
    run="annotation.pipeline.label.take_labels.run_taking",
    follow="annotation.pipeline.distill.start_distillation.follow_taking",
    page="labeling",
    detail=details.GivenDetail,
    exclusive_group=CORPUS,
    is_step=True,
    sentences={"done": _("The labels of the file are the coarse labels now.")},
)

LLM_PART = JobKind(
    key="llm-part",
    name=_("Part of an LLM labeling"),
    queue="llm",
    run="annotation.pipeline.label.parts.run_part",
    detail=details.PartDetail,
)

SLM = JobKind(
    key="slm",
    name=_("SLM filtering"),
    queue="slm",
    run="annotation.pipeline.distill.run_distillation.run_distillation",
    counts_rows=True,
    page="filtering",
    detail=details.TrainingDetail,
    exclusive_group=CORPUS,
    is_step=True,
    changes_counts=True,
    is_training=True,
    phases=sentences.TRAINING_PHASES,
    sentences={"done": _("Every row has a prediction, a confidence and a clean probability.")},
)

FEATURES_PART = JobKind(
    key="features-part",
    name=_("Part of the features of an SLM filtering"),
    queue="slm",
    run="annotation.pipeline.distill.feature_parts.run_part",
    detail=details.FeaturesPartDetail,
)

NEW_ROWS = JobKind(
    key="new-rows",
    name=_("Labeling of new rows"),
    queue="slm",
    run="annotation.pipeline.distill.label_new_rows.run_new_rows",
    page="model",
    exclusive_group=CORPUS,
    changes_counts=True,
    phases=sentences.NEW_ROWS_PHASES,
    sentences=sentences.NEW_ROWS_STATES,
)

UPDATE = JobKind(
    key="update",
    name=_("Update of the review queue"),
    run="annotation.pipeline.distill.update_verdicts.run_update",
    is_interactive=True,
    page="review",
    detail=details.UpdateDetail,
    exclusive_group="update",
    changes_counts=True,
    sentences={"done": _("The order of the rows takes people's newest answers into account.")},
)

EXPORT = JobKind(
    key="export",
    name=_("Export"),
    run="annotation.pipeline.export.run_export.run_export",
    counts_rows=True,
    page="export",
    detail=details.ExportDetail,
    only_reads=True,
    phases={"writing": _("Writing the file.")},
    sentences=sentences.EXPORT_STATES,
)

TRIAL = JobKind(
    key="trial",
    name=_("Trial run"),
    queue="llm",
    run="annotation.pipeline.label.try_out.run_trial",
    is_interactive=True,
    page="trial",
    detail=details.TrialDetail,
    exclusive_group="trial",
    phases={"trial": _("The LLM answers a few rows; their labels are not saved.")},
    sentences={"done": _("The answers are cached; the full run does not ask these questions again.")},
)

CONNECTION_TEST = JobKind(
    key="connection-test",
    name=_("Connection test"),
    queue="llm",
    run="annotation.pipeline.label.check_connection.run_connection_test",
    is_interactive=True,
    page="configure_models",
    detail=details.ConnectionTestDetail,
    exclusive_group="connection",
    only_reads=True,
    phases={"asking": _("Asking the server about one row, and finding out what it takes.")},
)

COMPARISON = JobKind(
    key="comparison",
    name=_("Model comparison"),
    queue="llm",
    run="annotation.pipeline.label.compare_models.run_comparison",
    is_interactive=True,
    page="connections",
    detail=details.ComparisonDetail,
    exclusive_group="comparison",
    only_reads=True,
    phases=sentences.COMPARISON_PHASES,
)

BULK = JobKind(
    key="bulk",
    name=_("Bulk correction"),
    run="annotation.pipeline.review.bulk.run_batch",
    counts_rows=True,
    page="review",
    phases={"correcting": _("Correcting the rows in batches.")},
    sentences={"done": _("The rows are corrected.")},
)

RESTORE = JobKind(
    key="restore",
    name=_("Rollback"),
    run="annotation.pipeline.iterate.restore_round.run_restore",
    counts_rows=True,
    page="rounds",
    detail=details.RestoreDetail,
    exclusive_group=CORPUS,
    changes_counts=True,
    sentences=sentences.RESTORE_STATES,
)

DELETION = JobKind(
    key="deletion",
    name=_("Project deletion"),
    run="annotation.pipeline.project.archive.run_deletion",
    counts_rows=True,
    follow="annotation.pipeline.project.archive.delete_emptied",
    exclusive_group=CORPUS,
)

PLAN = JobKind(
    key="plan",
    name=_("Plan"),
    run="annotation.pipeline.plan.run_plan.run_plan",
    is_interactive=True,
    follow="annotation.jobs.state.plan_again",
    page="goal",
    exclusive_group="plan",
    only_reads=True,
    is_aside=True,
    detail=details.PlanDetail,
)

CERTIFICATE = JobKind(
    key="certificate",
    name=_("Certificate"),
    run="annotation.pipeline.measure.certify.run_certificate",
    is_interactive=True,
    follow="annotation.jobs.state.plan_after",
    page="certificate",
    exclusive_group="certificate",
    only_reads=True,
    detail=details.CertificateDetail,
    sentences={"done": _("The certificate is ready.")},
)

WEBHOOK = JobKind(
    key="webhook",
    name=_("Webhook call"),
    run="annotation.pipeline.project.webhooks.run_call",
    page="webhooks",
    detail=WebhookDetail,
    only_reads=True,
    is_aside=True,
)

#: All that stand above, by the names that stages store.
KINDS = {kind.key: kind for kind in list(vars().values()) if isinstance(kind, JobKind)}
