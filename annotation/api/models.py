"""The models: the language model's connection, further ones, their tests and comparison, and the small model's settings."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.shortcuts import get_object_or_404
from ninja import Router, Schema, Status
from pydantic import Field

from annotation.api.access import Id
from annotation.api.bodies import body_of, checked, posted
from annotation.api.results import Range, shown_interval
from annotation.api.steps import StageOut, shown_stage
from annotation.forms.llm import FurtherLlmForm, LlmForm
from annotation.forms.models import ModelsForm
from annotation.jobs.connection_result import ConnectionTest
from annotation.messages import message_text
from annotation.models import Connection, ConnectionSettings, Project, Role
from annotation.pipeline.distill.kept_model import measure_model, measured_sentence, needed_model
from annotation.pipeline.distill.start_new_rows import new_rows, start_new_rows
from annotation.pipeline.label import start_try_out
from annotation.pipeline.measure.model_comparison import compare_models
from annotation.pipeline.project import activity, connection
from annotation.pipeline.project.presets import presets
from annotation.views.access import MemberRequest, project_of_member
from annotation.views.distill.model import open_model
from annotation.views.export.downloads import Download
from annotation.views.project.connections import store_connection
from annotation.views.project.models import store_models

router = Router(tags=["models"])

ModelsBody = body_of(ModelsForm, "ModelsBody", partial=True)
ConnectionBody = body_of(FurtherLlmForm, "ConnectionBody", partial=True)


class TestOut(Schema):
    """What the newest test of a connection showed; ``error`` is empty where it worked."""

    at: str
    label: str
    raw: str
    seconds: float
    cost_of_thousand: float
    models: list[str]
    error: str


class ConnectionOut(Schema):
    """Settings without secrets: of a token its last characters are told, of extra headers the names. ``id`` is null for the
    project's own connection."""

    id: int | None
    settings: dict[str, Any]
    token_end: str
    header_names: list[str]
    test: TestOut | None


def _shown(connected: ConnectionSettings, form: type[LlmForm]) -> dict[str, Any]:
    tested = ConnectionTest.from_json(connected.llm_test)
    shown = {name: getattr(tested, name) for name in TestOut.model_fields} | {
        "error": message_text(tested.error)
    }
    return {
        "id": connected.pk if isinstance(connected, Connection) else None,
        "settings": form.initial_of(connected),
        "token_end": connection.token_end(connected),
        "header_names": connection.header_names(connected),
        "test": shown if tested.of else None,
    }


@router.get("/presets", response=dict[str, dict[str, Any]])
def list_presets(request: MemberRequest) -> Any:
    """Settings of known providers, to be given to a connection."""
    return {key: preset.fields for key, preset in presets().items()}


@router.get("/projects/{project_id}/models", response=ConnectionOut)
def read_models(request: MemberRequest, project_id: Id) -> Any:
    """The settings of the project's language model and small model."""
    return _shown(project_of_member(request, project_id, role=Role.OWNER), ModelsForm)


@router.patch("/projects/{project_id}/models", response=ConnectionOut)
def set_models(request: MemberRequest, project_id: Id, body: ModelsBody) -> Any:  # type: ignore[valid-type]
    """Change settings of both models; what is not given stays. A token never follows to another server."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    store_models(
        project, checked(ModelsForm(posted(body, **ModelsForm.initial_of(project)))), user=request.user
    )
    return _shown(project, ModelsForm)


def _test(request: MemberRequest, project: Project, further: Connection | None) -> Any:
    stage = start_try_out.start_connection_test(project, user=request.user, connection=further)
    return Status(202, shown_stage(stage))


@router.post("/projects/{project_id}/models/test", response={202: StageOut})
def test_models(request: MemberRequest, project_id: Id) -> Any:
    """Ask the project's language model about one row, and find out what its server takes."""
    return _test(request, project_of_member(request, project_id, role=Role.OWNER), None)


# --- The kept small model -----------------------------------------------------------------------------------------


class KeptModelOut(Schema):
    """The small model that is kept. ``accuracy``: what is known of it, in a sentence. ``new_rows`` wait to be labelled by it."""

    round: int
    trained_at: datetime | None
    accuracy: str
    new_rows: int


@router.get("/projects/{project_id}/model", response=KeptModelOut)
def read_kept_model(request: MemberRequest, project_id: Id) -> Any:
    project = project_of_member(request, project_id, role=Role.VIEWER)
    kept = needed_model(project)
    return {
        "round": kept.iteration.number,
        "trained_at": kept.stage.finished_at,
        "accuracy": measured_sentence(measure_model(kept)),
        "new_rows": new_rows(project).count(),
    }


@router.get("/projects/{project_id}/model/download", response={200: bytes})
def download_kept_model(request: MemberRequest, project_id: Id) -> Download:
    """The model's folder as a ZIP file, for ``mlcore.Classifier.load``."""
    return open_model(project_of_member(request, project_id, role=Role.VIEWER), user=request.user)


@router.post("/projects/{project_id}/model/new-rows", response={202: StageOut})
def label_new_rows(request: MemberRequest, project_id: Id) -> Any:
    """Have the kept model label the rows that were imported since, without a language model."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    stage = start_new_rows(project, user=request.user)
    activity.record_stage(stage, user=request.user)
    return Status(202, shown_stage(stage))


# --- Further language models --------------------------------------------------------------------------------------


def _connection(project: Project, connection_id: int) -> Connection:
    return get_object_or_404(Connection, project=project, pk=connection_id)


@router.get("/projects/{project_id}/connections", response=list[ConnectionOut])
def list_connections(request: MemberRequest, project_id: Id) -> Any:
    """The project's further language models."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    return [_shown(each, FurtherLlmForm) for each in project.connections.all()]


def _store(request: MemberRequest, further: Connection, body: Schema) -> dict[str, Any]:
    form = checked(FurtherLlmForm(posted(body, **FurtherLlmForm.initial_of(further))))
    store_connection(further, form, user=request.user)
    return _shown(further, FurtherLlmForm)


@router.post("/projects/{project_id}/connections", response={201: ConnectionOut})
def add_connection(request: MemberRequest, project_id: Id, body: ConnectionBody) -> Any:  # type: ignore[valid-type]
    """Add a language model; what is not given is taken from the project's own."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    return Status(201, _store(request, Connection(project=project, llm_settings=project.llm_settings), body))


@router.patch("/projects/{project_id}/connections/{connection_id}", response=ConnectionOut)
def change_connection(request: MemberRequest, project_id: Id, connection_id: Id, body: ConnectionBody) -> Any:  # type: ignore[valid-type]
    project = project_of_member(request, project_id, role=Role.OWNER)
    return _store(request, _connection(project, connection_id), body)


@router.delete("/projects/{project_id}/connections/{connection_id}", response={204: None})
def remove_connection(request: MemberRequest, project_id: Id, connection_id: Id) -> Any:
    project = project_of_member(request, project_id, role=Role.OWNER)
    connection.remove_connection(_connection(project, connection_id))
    return Status(204, None)


@router.post("/projects/{project_id}/connections/{connection_id}/test", response={202: StageOut})
def test_connection(request: MemberRequest, project_id: Id, connection_id: Id) -> Any:
    project = project_of_member(request, project_id, role=Role.OWNER)
    return _test(request, project, _connection(project, connection_id))


# --- Comparison ---------------------------------------------------------------------------------------------------


class ComparisonBody(Schema):
    """``connection``: the id of a further connection; null asks the project's own."""

    connection: int | None = Field(None, ge=0, lt=10**18)


class ComparedOut(Schema):
    """One model with one prompt, on the rows that all were asked about. ``chance``: McNemar's p value against the first."""

    name: str
    model: str
    prompt: int
    accuracy: Range
    unreadable: float
    cost: float | None
    latency: float | None
    better: int
    worse: int
    chance: float | None


class ComparisonOut(Schema):
    rows: int
    models: list[ComparedOut]


@router.post("/projects/{project_id}/comparison", response={202: StageOut})
def start_comparison(request: MemberRequest, project_id: Id, body: ComparisonBody) -> Any:
    """Ask a language model about the rows that people answered blind."""
    project = project_of_member(request, project_id, role=Role.OWNER)
    asked = None if body.connection is None else _connection(project, body.connection)
    stage = start_try_out.start_comparison(project, user=request.user, connection=asked)
    activity.record_stage(stage, user=request.user)
    return Status(202, shown_stage(stage))


@router.get("/projects/{project_id}/comparison", response=ComparisonOut)
def read_comparison(request: MemberRequest, project_id: Id) -> Any:
    """The models side by side, the most accurate first."""
    compared, rows = compare_models(project_of_member(request, project_id, role=Role.OWNER))
    names = [name for name in ComparedOut.model_fields if name != "accuracy"]
    return {
        "rows": rows,
        "models": [
            {name: getattr(each, name) for name in names} | {"accuracy": shown_interval(each.accuracy)}
            for each in compared
        ],
    }
