"""What an exported workbook tells of itself: how good its labels are, as far as is known, and how they were made.

It is written for a person, in the language of whoever asked for the file; names of settings stay as they are.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from django.db.models import Count, F, Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation import __version__
from annotation.files.excel.writer import Cell, quality_sheet
from annotation.jobs import kinds
from annotation.messages import message_text
from annotation.models import Iteration, LeftOutRow, Project, Source
from annotation.pipeline.export.rows import ALL_ROWS, FLAG_WORDS, Selection
from annotation.pipeline.ingest.import_report import KEPT_ROWS, rejected_uploads, stored_summary
from annotation.pipeline.ingest.reference_labels import unknown_references_sentence, with_reference
from annotation.pipeline.measure.accuracy import FEW_ROWS, Evidence
from annotation.pipeline.review.risk_basis import risk_basis
from mlcore.measure.estimate import ClassQuality, Interval

Lines = Iterator[list[Cell]]

_PACKAGES = ("django", "numpy", "scikit-learn", "torch", "transformers", "huggingface-hub")
_STEPS = (
    (gettext_lazy("LLM label"), "llm_label"),
    (gettext_lazy("SLM label"), "slm_label"),
    (gettext_lazy("final label"), "label"),
)


def quality_lines(project: Project) -> Lines:
    """Rows, rows per class and source, and the accuracy of each step against reference labels where there are some."""
    rows = project.samples.order_by()
    yield [_("Rows")]
    yield [_("rows"), rows.count()]
    yield [_("labelled"), rows.filter(label__isnull=False).count()]
    yield [_("without a label"), rows.filter(label__isnull=True).count()]
    yield [_("corrected by people"), rows.filter(source=Source.PERSON).count()]
    yield []
    yield from _class_lines(project)
    yield []
    yield from _measured_lines(project)
    yield []
    yield from _accuracy_lines(project)


def _class_lines(project: Project) -> Lines:
    counted = project.samples.order_by().values_list("label", "source").annotate(Count("pk"))
    found = {(label, source): count for label, source, count in counted}
    yield [_("Rows per class, by source of the label")]
    yield [_("class"), "LLM", "SLM", _("person"), _("all")]
    for label_id, name in [*project.labels.values_list("pk", "name"), (None, _("(no label)"))]:
        per_source = [found.get((label_id, source), 0) for source in (Source.LLM, Source.SLM, Source.PERSON)]
        everything = sum(count for (label, _source), count in found.items() if label == label_id)
        if label_id or everything:
            yield [name, *per_source, everything]


def _measured_lines(project: Project) -> Lines:
    """What the rows drawn at random tell; every figure with its 95 % interval."""
    evidence = Evidence.read(project)
    basis = risk_basis(project)
    if basis and not basis.known:
        yield [_("risk and flag are guesses: nobody has checked these labels")]
        yield [_("share of labels that may be wrong"), round(basis.low, 6), round(basis.high, 6)]
    yield [_("Accuracy measured on the random sample")]
    accuracy, wrong = evidence.accuracy, evidence.wrong_left
    if accuracy is None or wrong is None or len(evidence.answered) < FEW_ROWS:
        yield [
            _("Unknown: at least %(few)d labelled rows of the random sample are needed; there are %(rows)d.")
            % {"few": FEW_ROWS, "rows": len(evidence.answered)}
        ]
        return
    yield [_("labelled rows of the random sample"), len(evidence.answered)]
    yield [_("metric"), _("estimate"), _("lower bound"), _("upper bound")]
    yield [_("accuracy of this file"), *_rounded(accuracy)]
    yield [_("wrong rows left"), *_rounded(wrong, digits=0)]
    classes, macro = evidence.classes
    missing = _("unknown: too few sampled rows of some labels")
    yield [_("macro F1"), *(_rounded(macro) if macro else [missing])]
    for label, quality in zip(evidence.labels, classes, strict=True):
        for figure, interval in (
            (_("precision of %(label)s"), quality.precision),
            (_("recall of %(label)s"), quality.recall),
        ):
            told = _rounded(interval) if interval else [_unknown(quality)]
            yield [figure % {"label": label.name}, *told]
    for flag in evidence.flags:
        if flag.checked:
            yield [
                _("flag “%(flag)s”") % {"flag": FLAG_WORDS[flag.flag]},
                _("%(wrong)d of %(checked)d checked rows were wrong")
                % {"wrong": flag.wrong, "checked": flag.checked},
            ]
    if evidence.decided_in_bulk:
        yield [_("rows corrected in bulk, measured like uncorrected rows"), evidence.decided_in_bulk]
    if evidence.unmeasured:
        yield [
            _("of these, rows whose label has no sampled row; the intervals allow for all of them"),
            evidence.unmeasured,
        ]
    if evidence.learned:
        yield [
            _("sampled rows that were labelled before this round and used in its training"),
            evidence.learned,
        ]
    yield [
        _(
            "Intervals have 95 percent confidence. A label that a person gave to a single row counts "
            "as right; rows without a label are not counted."
        )
    ]


def _unknown(quality: ClassQuality) -> str:
    if not quality.missing:
        return _("unknown: no row has this label")
    return _("unknown: %(rows)d more sampled rows of this label are needed") % {"rows": quality.missing}


def _rounded(interval: Interval, *, digits: int = 6) -> list[Cell]:
    return [round(each, digits) for each in (interval.value, interval.low, interval.high)]


def _accuracy_lines(project: Project) -> Lines:
    known = with_reference(project.samples.order_by(), project)
    total = known.count()
    yield [_("Accuracy against the uploaded reference labels")]
    if not total:
        yield [_("There are no reference labels to compare with.")]
        return
    yield [_("rows with a reference label"), total]
    if sentence := unknown_references_sentence(project):
        yield [sentence]
    yield [_("step"), _("labelled"), _("of these, right"), _("accuracy")]
    for name, field in _STEPS:
        counts = known.aggregate(
            labelled=Count("pk", filter=Q(**{f"{field}__isnull": False})),
            right=Count("pk", filter=Q(**{f"{field}_id": F("reference_id")})),
        )
        yield [str(name), counts["labelled"], counts["right"], round(counts["right"] / total, 6)]
    yield [_("A row without a label counts as wrong; rows that people corrected count like any other.")]


def provenance_lines(project: Project, *, cut: int = 0, selection: Selection = ALL_ROWS) -> Lines:
    """Task, labels, prompt, models, settings, rounds, demonstrations, versions and dates; never a token."""
    yield [_("This file")]
    yield [_("project"), project.name]
    yield [_("task"), project.get_task_type_display()]
    yield [_("exported at"), timezone.now().isoformat(timespec="seconds")]
    yield [_("models' labels from"), _round_in_force(project)]
    yield from _selection_lines(project, selection)
    yield [_("columns that the models see"), ", ".join(project.content_columns)]
    if project.column_kinds:
        yield [
            _("column types set by people"),
            ", ".join(map(": ".join, project.column_kinds.items())),
        ]
    yield [_("id column"), project.id_column or _("(none)")]
    yield [_("reference column"), project.reference_column or _("(none)")]
    yield [_("texts cut at 32,767 characters"), cut]
    yield []
    yield from _import_lines(project)
    yield []
    yield [_("Labels")]
    for name, description in project.labels.values_list("name", "description"):
        yield [name, description]
    for iteration in project.iterations.order_by("number"):
        yield []
        yield from _round_lines(iteration)
    yield []
    yield [_("Versions")]
    yield ["CORAL", __version__]
    yield ["Python", platform.python_version()]
    for package in _PACKAGES:
        yield [package, _version_of(package)]


def _round_in_force(project: Project) -> str:
    kept = project.iterations.in_force()
    if kept is None:
        return _("the LLM only: no round has finished SLM filtering")
    return _("round %(number)d") % {"number": kept.number}


def _selection_lines(project: Project, selection: Selection) -> Lines:
    rows = selection.rows(project).count()
    everything = project.samples.count()
    yield [
        _("rows in this file"),
        _("%(rows)s of the project's %(all)s") % {"rows": f"{rows:,}", "all": f"{everything:,}"},
    ]
    if selection.query:
        yield [_("only rows of the filter"), selection.query]
    if selection.certainty is not None:
        yield [_("minimum probability that a label is right"), f"{selection.certainty:.2%}"]
    if not selection.is_all:
        yield [
            _("the sheet %(name)s") % {"name": quality_sheet()},
            _("describes all rows of the project, not only those of this file"),
        ]


def _import_lines(project: Project) -> Lines:
    """The files that the rows are from; each row that was rejected by line and reason, as far as a sheet is for that."""
    yield [_("Imported files")]
    for upload in project.uploads.order_by("pk"):
        if upload.report.get("finished"):
            yield [upload.name, stored_summary(upload.report)]
    for upload in rejected_uploads(project):
        yield []
        rejected, read = upload.report["rejected"], upload.report["read"]
        yield [
            _("Rejected at import: %(rejected)s of %(read)s rows of %(name)s")
            % {"rejected": f"{rejected:,}", "read": f"{read:,}", "name": upload.name}
        ]
        named = upload.left_out.filter(outcome=LeftOutRow.Outcome.REJECTED)
        for line, reason in named.values_list("line", "reason")[:KEPT_ROWS]:
            yield [_("line %(line)s") % {"line": f"{line:,}"}, message_text(reason)]
        if rejected > KEPT_ROWS:
            yield [
                _("and %(rows)s more") % {"rows": f"{rejected - KEPT_ROWS:,}"},
                _("the import report on the project's page lists them all"),
            ]


def _round_lines(iteration: Iteration) -> Lines:
    yield [_("Round %(number)s") % {"number": iteration.number}]
    if iteration.withdrawn_at:
        since = iteration.withdrawn_at.isoformat(timespec="seconds")
        yield [_("rolled back at"), since, _("the labels of an earlier round are used instead")]
    yield [_("started at"), iteration.created_at.isoformat(timespec="seconds")]
    yield [
        _("started from"),
        iteration.get_started_from_display(),
    ]
    for stage in iteration.stages.order_by("pk"):
        yield [
            _("stage %(kind)s") % {"kind": kinds.kind_name(stage)},
            stage.get_status_display(),
            _("%(seconds)d s") % {"seconds": round(stage.seconds)},
            _("%(count)s tokens") % {"count": f"{stage.tokens_in + stage.tokens_out:,}"},
        ]
    for block, text in iteration.prompt.items():
        yield [_("prompt: %(block)s") % {"block": block}, text]
    yield from _setting_lines("LLM", iteration.llm_settings)
    yield from _setting_lines("SLM", iteration.slm_settings)
    yield [_("seed"), iteration.seed]
    for number, each in enumerate(iteration.demonstrations, start=1):
        yield [
            _("demonstration %(number)d") % {"number": number},
            str(each.get("label", "")),
            str(each.get("shown", "")),
        ]


def _setting_lines(name: str, values: Mapping[str, Any]) -> Lines:
    for key, value in values.items():
        # What opens a server is no setting; should it ever be put among them, it still does not leave with the file.
        if key == "budget_tokens" or ("token" not in key and "key" not in key):
            yield [f"{name}: {key}", value if isinstance(value, int | float | str) else str(value)]


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return _("(not installed)")
