from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connections, models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotation.models.correction_batch import CorrectionBatch
from annotation.models.project import Label, Project


class Source(models.TextChoices):
    """Who decided a label."""

    NONE = "", _("none yet")
    LLM = "llm", _("LLM")
    SLM = "slm", _("SLM")
    PERSON = "person", _("person")


class Flag(models.TextChoices):
    """What the models' evidence says of a row's label."""

    NONE = "", _("not judged")
    RIGHT = "right", _("likely right")
    WRONG = "wrong", _("likely wrong")
    INCONSISTENT = "inconsistent", _("models disagree")


@dataclass(frozen=True)
class LlmLabel:
    """What the LLM stage writes on a row."""

    sample_id: int
    label_id: int | None
    confidence: float | None


@dataclass(frozen=True)
class Verdict:
    """What the SLM stage writes on a row."""

    sample_id: int
    label_id: int
    source: str
    risk: float
    slm_label_id: int
    confidence: float
    clean_prob: float | None
    clean_rank: int
    flag: str
    queue_rank: int


_NOT_AT_RISK = Q(llm_label__isnull=False) & (Q(source=Source.PERSON) | Q(flag=Flag.RIGHT))


class SampleQuerySet(models.QuerySet["Sample"]):
    def checked_alone(self) -> SampleQuerySet:
        """Rows that a person has decided one by one. What the partial index of these rows holds, and nothing more: another
        condition would lead to an index of far more rows."""
        return self.filter(batch__isnull=True, corrected_at__isnull=False)

    def unchecked(self) -> SampleQuerySet:
        """Rows with a label that nobody gave them alone: a model's label, or one set in bulk."""
        return self.filter(Q(batch__isnull=False) | ~Q(source=Source.PERSON), label__isnull=False)

    def at_risk(self) -> SampleQuerySet:
        """Rows that another answer of the LLM may help: no person has decided them, and the small model has not judged
        them, or judged their LLM label as likely wrong or as another than its own."""
        return self.exclude(_NOT_AT_RISK)

    def not_at_risk(self) -> SampleQuerySet:
        """The other rows, by a condition of their own: a table is not searched for what another query leaves out."""
        return self.filter(_NOT_AT_RISK)

    def write_llm_labels(self, written: Sequence[LlmLabel], *, round_number: int) -> None:
        """Set the LLM's label; it becomes the models' label until a small model has judged the row, and the current one
        until a person has."""
        undecided = "source IN ('', 'llm') AND risk IS NULL"
        statement = f"""
            UPDATE {Sample._meta.db_table} SET
                llm_label_id = %(label_id)s, llm_confidence = %(confidence)s, round = %(round)s,
                label_id = CASE WHEN {undecided} THEN %(label_id)s ELSE label_id END,
                source = CASE WHEN {undecided} THEN %(source)s ELSE source END,
                machine_label_id = CASE WHEN slm_label_id IS NULL THEN %(label_id)s ELSE machine_label_id END
            WHERE id = %(sample_id)s"""  # noqa: S608 (only our own constants are put in)
        self._execute_many(
            statement,
            [
                vars(row) | {"round": round_number, "source": Source.LLM if row.label_id else Source.NONE}
                for row in written
            ],
        )

    def write_verdicts(self, written: Sequence[Verdict], *, round_number: int) -> None:
        """Set the small model's findings on all rows, and label and risk on those that no person has decided."""
        person = f"source = '{Source.PERSON}'"
        statement = f"""
            UPDATE {Sample._meta.db_table} SET slm_label_id = %(slm_label_id)s, confidence = %(confidence)s,
                clean_prob = %(clean_prob)s, clean_rank = %(clean_rank)s, flag = %(flag)s,
                queue_rank = %(queue_rank)s, round = %(round)s, machine_label_id = %(label_id)s,
                label_id = CASE WHEN {person} THEN label_id ELSE %(label_id)s END,
                risk = CASE WHEN {person} THEN 0 ELSE %(risk)s END,
                source = CASE WHEN {person} THEN source ELSE %(source)s END
            WHERE id = %(sample_id)s"""  # noqa: S608 (only our own constants are put in)
        self._execute_many(statement, [vars(row) | {"round": round_number} for row in written])

    def _execute_many(self, statement: str, parameters: Sequence[dict[str, Any]]) -> None:
        with connections[self.db].cursor() as cursor:
            cursor.executemany(statement, parameters)


class Sample(models.Model):
    """One row of the corpus, with its current label and what is known of it (copied here so that a table of a
    million rows sorts and filters by an index; the rounds' own records are Predictions and Corrections)."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="samples")
    position = models.PositiveIntegerField()
    external_id = models.CharField(max_length=200, blank=True)
    text = models.TextField(help_text=_("What a person reads: the content columns."))
    fields = models.JSONField(help_text=_("The uploaded cells, in the order of the project's columns."))
    cell_types = models.TextField(
        blank=True,
        default="",
        db_default="",
        help_text=_("A letter for the type that each cell came with; empty where all are texts."),
    )
    content_hash = models.CharField(max_length=40)
    prompt_like = models.BooleanField(
        default=False,
        db_default=False,
        help_text=_("The text reads like a prompt, so what models say of it is doubtful."),
    )
    reference = models.ForeignKey(
        Label,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text=_("Uploaded reference label: reaches metrics and nothing else."),
    )

    label = models.ForeignKey(Label, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    source = models.CharField(max_length=6, choices=Source.choices, default=Source.NONE, blank=True)
    llm_label = models.ForeignKey(
        Label, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    llm_confidence = models.FloatField(null=True, blank=True)
    slm_label = models.ForeignKey(Label, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    confidence = models.FloatField(
        null=True, blank=True, help_text=_("The SLM's confidence in its own label.")
    )
    clean_prob = models.FloatField(
        null=True, blank=True, help_text=_("Probability that the LLM's label is right.")
    )
    clean_rank = models.PositiveIntegerField(
        null=True, blank=True, help_text=_("1 is the most suspicious row.")
    )
    risk = models.FloatField(
        null=True, blank=True, help_text=_("Probability that the current label is wrong.")
    )
    flag = models.CharField(max_length=12, choices=Flag.choices, default=Flag.NONE, blank=True)
    queue_rank = models.PositiveIntegerField(
        null=True, blank=True, help_text=_("Position in the review queue.")
    )
    round = models.PositiveIntegerField(default=0)
    llm_round = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text=_(
            "The newest round that chose the row for the LLM, where it was not asked about all rows."
        ),
    )
    corrected_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
    )
    corrected_at = models.DateTimeField(null=True, blank=True)
    batch = models.ForeignKey(
        CorrectionBatch,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
        help_text=_("The bulk correction that set the label; perhaps nobody looked at this row itself."),
    )
    machine_label = models.ForeignKey(
        Label,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
        help_text=_("The models' label of a row that a person has decided."),
    )
    version = models.PositiveIntegerField(
        default=0, help_text=_("Counts corrections, so that a stale page can't overwrite one.")
    )

    objects = SampleQuerySet.as_manager()

    class Meta:
        ordering = ["project", "position"]
        constraints = [models.UniqueConstraint(fields=["project", "position"], name="positions_differ")]
        indexes = [
            models.Index(fields=["project", "confidence", "id"], name="sample_by_confidence"),
            models.Index(fields=["project", "clean_prob", "id"], name="sample_by_clean_prob"),
            models.Index(fields=["project", "risk", "id"], name="sample_by_risk"),
            models.Index(fields=["project", "queue_rank"], name="sample_by_queue"),
            models.Index(fields=["project", "flag", "position"], name="sample_by_flag"),
            models.Index(fields=["project", "flag", "queue_rank", "id"], name="sample_by_flag_and_queue"),
            models.Index(
                fields=["project", "flag", "confidence", "id"], name="sample_by_flag_and_confidence"
            ),
            models.Index(fields=["project", "flag", "clean_prob", "id"], name="sample_by_flag_and_clean"),
            models.Index(fields=["project", "flag", "risk", "id"], name="sample_by_flag_and_risk"),
            models.Index(fields=["project", "source", "flag"], name="sample_by_source_and_flag"),
            models.Index(fields=["llm_label", "slm_label"], name="sample_by_model_labels"),
            models.Index(fields=["corrected_by", "project"], name="sample_by_corrector"),
            models.Index(fields=["project", "external_id"], name="sample_by_external_id"),
            # Few rows, or few columns of many: what the measured accuracy reads of the rows that people decided.
            models.Index(
                fields=["project", "corrected_at"],
                condition=Q(batch__isnull=True, corrected_at__isnull=False),
                name="sample_checked_alone",
            ),
            models.Index(
                fields=["batch", "label", "machine_label"],
                condition=Q(batch__isnull=False),
                name="sample_in_bulk",
            ),
        ]

    def __str__(self) -> str:
        return f"row {self.position + 1} of {self.project}"

    @property
    def number(self) -> int:
        """The row's number as a person counts, from 1."""
        return self.position + 1
