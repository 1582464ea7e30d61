from __future__ import annotations

from django.urls import path, register_converter
from django.urls.converters import IntConverter

from annotation.views.distill import filtering, model
from annotation.views.export import exports
from annotation.views.ingest import given_labels, uploads
from annotation.views.iterate import rounds
from annotation.views.label import labeling, try_out
from annotation.views.measure import accuracy
from annotation.views.plan import certificate, goal
from annotation.views.project import (
    archive,
    configure,
    connections,
    invitations,
    members,
    models,
    projects,
    saved_tables,
    team,
    tokens,
    webhooks,
)
from annotation.views.review import bulk, focus, review, row_marks

app_name = "annotation"


class IdConverter(IntConverter):
    """A row's id; a number that no database can hold is no page."""

    regex = "[0-9]{1,18}"


register_converter(IdConverter, "id")

PROJECT = "projects/<id:project_id>"

urlpatterns = [
    path("", projects.projects, name="projects"),
    path("projects/sample/", projects.load_sample, name="load_sample"),
    path("help/", projects.help_page, name="help"),
    path("projects/new/", projects.create_project, name="create_project"),
    path(f"{PROJECT}/", projects.project, name="project"),
    path(f"{PROJECT}/put-away/", archive.put_away, name="put_away"),
    path(f"{PROJECT}/take-back/", archive.take_back, name="take_back"),
    path(f"{PROJECT}/delete/", archive.delete_project, name="delete_project"),
    path(f"{PROJECT}/configure/", configure.configure, name="configure"),
    path(f"{PROJECT}/configure/task/", configure.configure_task, name="configure_task"),
    path(f"{PROJECT}/configure/data/", uploads.configure_data, name="configure_data"),
    path(f"{PROJECT}/configure/data/upload/", uploads.upload_file, name="upload_file"),
    path(f"{PROJECT}/configure/data/<id:upload_id>/", uploads.configure_columns, name="configure_columns"),
    path(f"{PROJECT}/configure/data/<id:upload_id>/edits/", given_labels.take_edits, name="take_edits"),
    path(f"{PROJECT}/configure/start/labels/", given_labels.take_labels, name="take_labels"),
    path(f"{PROJECT}/configure/data/<id:upload_id>/remove/", uploads.remove_upload, name="remove_upload"),
    path(
        f"{PROJECT}/configure/data/<id:upload_id>/left-out.csv", uploads.left_out_rows, name="left_out_rows"
    ),
    path(f"{PROJECT}/configure/labels/", configure.configure_labels, name="configure_labels"),
    path(f"{PROJECT}/configure/labels/merge/", configure.merge_labels, name="merge_labels"),
    path(f"{PROJECT}/configure/prompt/", configure.configure_prompt, name="configure_prompt"),
    path(f"{PROJECT}/configure/prompt/preview/", configure.preview_prompt, name="preview_prompt"),
    path(f"{PROJECT}/configure/models/", models.configure_models, name="configure_models"),
    path(f"{PROJECT}/configure/connections/", connections.connections, name="connections"),
    path(f"{PROJECT}/configure/connections/compare/", connections.start_comparison, name="start_comparison"),
    path(f"{PROJECT}/configure/connections/new/", connections.edit_connection, name="add_connection"),
    path(
        f"{PROJECT}/configure/connections/<id:connection_id>/",
        connections.edit_connection,
        name="edit_connection",
    ),
    path(
        f"{PROJECT}/configure/connections/<id:connection_id>/remove/",
        connections.remove_connection,
        name="remove_connection",
    ),
    path(f"{PROJECT}/configure/start/", configure.configure_start, name="configure_start"),
    path(f"{PROJECT}/configure/trial/", try_out.trial, name="trial"),
    path(f"{PROJECT}/configure/trial/start/", try_out.start_trial, name="start_trial"),
    path(f"{PROJECT}/labeling/", labeling.labeling, name="labeling"),
    path(f"{PROJECT}/labeling/budget/", labeling.set_budget, name="set_budget"),
    path(f"{PROJECT}/filtering/", filtering.filtering, name="filtering"),
    path(f"{PROJECT}/filtering/start/", filtering.start_filtering, name="start_filtering"),
    path(f"{PROJECT}/filtering/plots/", filtering.filtering_plots, name="filtering_plots"),
    path(f"{PROJECT}/model/", model.model, name="model"),
    path(f"{PROJECT}/model/download/", model.download_model, name="download_model"),
    path(f"{PROJECT}/model/new-rows/", model.label_new_rows, name="label_new_rows"),
    path(f"{PROJECT}/stages/<id:stage_id>/", labeling.stage_progress, name="stage_progress"),
    path(f"{PROJECT}/stages/<id:stage_id>/pause/", labeling.pause_stage, name="pause_stage"),
    path(f"{PROJECT}/stages/<id:stage_id>/cancel/", labeling.cancel_stage, name="cancel_stage"),
    path(f"{PROJECT}/stages/<id:stage_id>/resume/", labeling.resume_stage, name="resume_stage"),
    path(f"{PROJECT}/review/", review.review, name="review"),
    path(f"{PROJECT}/review/columns/", saved_tables.choose_columns, name="choose_columns"),
    path(f"{PROJECT}/review/filters/save/", saved_tables.save_filter, name="save_filter"),
    path(
        f"{PROJECT}/review/filters/<id:filter_id>/remove/", saved_tables.remove_filter, name="remove_filter"
    ),
    path(f"{PROJECT}/review/bulk/", bulk.correct_many, name="correct_many"),
    path(f"{PROJECT}/review/bulk/<id:batch_id>/undo/", bulk.undo_many, name="undo_many"),
    path(f"{PROJECT}/samples/<id:sample_id>/correct/", review.correct_sample, name="correct_sample"),
    path(f"{PROJECT}/samples/<id:sample_id>/text/", review.sample_text, name="sample_text"),
    path(f"{PROJECT}/focus/", focus.focus, name="focus"),
    path(f"{PROJECT}/focus/next/", focus.focus_next, name="focus_next"),
    path(f"{PROJECT}/focus/answer/", focus.focus_answer, name="focus_answer"),
    path(f"{PROJECT}/focus/skip/", focus.focus_skip, name="focus_skip"),
    path(f"{PROJECT}/focus/unclear/", focus.focus_unclear, name="focus_unclear"),
    path(f"{PROJECT}/samples/<id:sample_id>/mark/", row_marks.mark_sample, name="mark_sample"),
    path(f"{PROJECT}/focus/undo/", focus.focus_undo, name="focus_undo"),
    path(f"{PROJECT}/rounds/", rounds.rounds, name="rounds"),
    path(f"{PROJECT}/rounds/start/", rounds.start_round, name="start_round"),
    path(f"{PROJECT}/rounds/<id:iteration_id>/restore/", rounds.restore_round, name="restore_round"),
    path(f"{PROJECT}/rounds/<id:iteration_id>/flips/", rounds.round_flips, name="round_flips"),
    path(f"{PROJECT}/accuracy/", accuracy.accuracy, name="accuracy"),
    path(f"{PROJECT}/accuracy/draw/", accuracy.draw_audit, name="draw_audit"),
    path(f"{PROJECT}/goal/", goal.goal, name="goal"),
    path(f"{PROJECT}/goal/step/", goal.begin_step, name="begin_step"),
    path(f"{PROJECT}/goal/change/", goal.change_goal, name="change_goal"),
    path(f"{PROJECT}/certificate/", certificate.certificate, name="certificate"),
    path(f"{PROJECT}/certificate/make/", certificate.make_certificate, name="make_certificate"),
    path(f"{PROJECT}/certificate/certificate.json", certificate.certificate_json, name="certificate_json"),
    path(f"{PROJECT}/export/", exports.export, name="export"),
    path(f"{PROJECT}/export/start/", exports.start_export, name="start_export"),
    path(f"{PROJECT}/export/<id:stage_id>/download/", exports.download_export, name="download_export"),
    path(f"{PROJECT}/members/", members.members, name="members"),
    path(f"{PROJECT}/members/add/", members.add_member, name="add_member"),
    path(f"{PROJECT}/members/<id:membership_id>/role/", members.change_role, name="change_role"),
    path(f"{PROJECT}/members/<id:membership_id>/remove/", members.remove_member, name="remove_member"),
    path(f"{PROJECT}/members/invite/", invitations.invite, name="invite"),
    path(
        f"{PROJECT}/members/invitations/<id:invitation_id>/revoke/",
        invitations.revoke_invitation,
        name="revoke_invitation",
    ),
    path(f"{PROJECT}/members/activity/", team.activity, name="activity"),
    path(f"{PROJECT}/members/guidelines/", team.guidelines, name="guidelines"),
    path(f"{PROJECT}/webhooks/", webhooks.webhooks, name="webhooks"),
    path(f"{PROJECT}/webhooks/add/", webhooks.add_webhook, name="add_webhook"),
    path(f"{PROJECT}/webhooks/call/", webhooks.call_webhooks, name="call_webhooks"),
    path(f"{PROJECT}/webhooks/<id:webhook_id>/remove/", webhooks.remove_webhook, name="remove_webhook"),
    path("tokens/", tokens.tokens, name="tokens"),
    path("tokens/<id:token_id>/revoke/", tokens.revoke_token, name="revoke_token"),
    path("join/<str:secret>/", invitations.join, name="join"),
]
