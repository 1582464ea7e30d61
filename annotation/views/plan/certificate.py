"""The certificate: a page that prints on one sheet, and the same as JSON."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from annotation.errors import NotReadyError
from annotation.jobs import kinds
from annotation.jobs.details import CertificateDetail
from annotation.live.stage_status import stage_context
from annotation.models import Project, Role, Stage
from annotation.pipeline.measure import certify
from annotation.pipeline.measure.statement_words import part_sentence, statement_sentence
from annotation.views.access import MemberRequest, for_members
from annotation.views.frame import page_context

SHOWN_ROWS = 40  # numbers of rows that people disagreed on


@for_members(Role.VIEWER, "GET")
def certificate(request: MemberRequest, project: Project) -> HttpResponse:
    context = page_context(request, project, step="certificate")
    newest = project.stages.filter(kind=kinds.CERTIFICATE.key).first()
    if newest and newest.status != Stage.Status.DONE:
        context |= stage_context(newest)
    if made := certify.newest_certificate(project):
        statement = CertificateDetail.of(made).statement
        context |= {
            "statement": statement,
            "sentence": statement_sentence(statement),
            "part": part_sentence(statement),
            "changed": certify.changed_since(project, made),
            "made_at": made.finished_at,
            "disagreed": statement["disagreed"][:SHOWN_ROWS],
            "more_disagreed": max(0, len(statement["disagreed"]) - SHOWN_ROWS),
        }
    return render(request, "annotation/plan/certificate.html", context)


@for_members(Role.REVIEWER, "POST", back="annotation:certificate")
def make_certificate(request: MemberRequest, project: Project) -> HttpResponse:
    certify.start_certificate(project, user=request.user)
    return redirect("annotation:certificate", project.pk)


def statement_of(project: Project) -> tuple[Stage, dict[str, Any]]:
    """The newest certificate: the stage that made it, and what it says.

    Raises:
        NotReadyError: none has been made.
    """
    made = certify.newest_certificate(project)
    if made is None:
        raise NotReadyError("No certificate has been made yet.")
    return made, CertificateDetail.of(made).statement


@for_members(Role.VIEWER, "GET", back="annotation:certificate")
def certificate_json(request: MemberRequest, project: Project) -> HttpResponse:
    _made, statement = statement_of(project)
    options = {"indent": 2, "ensure_ascii": False}
    response = JsonResponse(statement, json_dumps_params=options)
    response["Content-Disposition"] = 'attachment; filename="certificate.json"'
    return response
