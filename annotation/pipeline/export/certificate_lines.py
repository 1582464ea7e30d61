"""The sheet of a workbook that holds the certificate of the project's file as it is."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.translation import gettext as _

from annotation.files.excel.writer import Cell
from annotation.models import Goal, Project
from annotation.pipeline.measure.certify import make_statement
from annotation.pipeline.measure.statement_words import part_sentence, statement_sentence


def certificate_lines(project: Project, goal: Goal) -> Iterator[list[Cell]]:
    """The statement, overall and per class, what it does not cover, and everything needed to repeat it."""
    statement, _others = make_statement(project, goal)
    yield [_("Certificate")]
    yield [statement_sentence(statement)]
    yield [part_sentence(statement)]
    yield []
    yield [_("accuracy"), _("lower bound"), _("estimate"), _("upper bound")]
    accuracy = statement["accuracy"]
    yield [_("all rows"), accuracy["low"], accuracy["estimate"], accuracy["high"]]
    for each in statement["classes"]:
        yield [each["label"], each["low"], each["estimate"], each["high"]]
    yield []
    for name, value in (
        (_("rows"), statement["rows"]),
        (_("random rows answered"), statement["drawn"]),
        (_("rows that people decided one by one"), statement["decided"]),
        (_("rows that no person has looked at"), statement["never_drawn"]),
        (_("rows not covered, counted as wrong"), statement["uncovered"]),
        (_("drawn rows without an answer, counted as wrong"), statement["unanswered"]),
        (_("rows on which a person did not confirm the label"), len(statement["disagreed"])),
        (_("rate of people's own errors"), statement["people_error"]),
        (_("target"), statement["target"]),
        (_("confidence"), statement["confidence"]),
        (_("method"), statement["method"]),
        (_("version of the labels"), statement["attempt"]),
        (_("evidence since"), statement["evidence_began"]),
        (_("made at"), statement["made_at"]),
        (_("SHA-256 of contents and labels"), statement["data_sha256"]),
    ):
        yield [name, _("unknown") if value is None else value]
    yield []
    yield [_("Answers, in the order in which the rows were drawn or chosen")]
    yield [
        _("row"),
        _("the file's label"),
        _("the person's label"),
        _("probability of the draw"),
        _("answered at"),
    ]
    for answer in statement["answers"]:
        yield [answer["row"], answer["asked"], answer["label"], answer["chance"], answer["at"]]
