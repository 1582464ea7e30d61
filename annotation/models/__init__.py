"""The application's data. Invariants: a correction is never overwritten by a machine; every number on a page can be
recomputed from rows; reference labels reach metrics and nothing else."""

from __future__ import annotations

from annotation.models.answer import CachedAnswer, SubmittedBatch
from annotation.models.audit import AuditDraw
from annotation.models.connection import AllowedHost, Connection, ConnectionSettings
from annotation.models.correction import Correction
from annotation.models.correction_batch import CorrectionBatch
from annotation.models.deployment import Deployment, DrainedMachine
from annotation.models.goal import Goal, PlanStep
from annotation.models.prediction import EpochRows, Prediction
from annotation.models.project import Label, Membership, Project, Role
from annotation.models.round import Iteration, Stage
from annotation.models.sample import Flag, Sample, Source
from annotation.models.teamwork import (
    Activity,
    Invitation,
    OneTimePassword,
    RowClaim,
    RowMark,
    RowSkip,
    SavedFilter,
)
from annotation.models.token import ApiToken
from annotation.models.upload import LeftOutRow, TextPage, Upload
from annotation.models.webhook import Webhook

__all__ = [
    "Activity",
    "AllowedHost",
    "ApiToken",
    "AuditDraw",
    "CachedAnswer",
    "Connection",
    "ConnectionSettings",
    "Correction",
    "CorrectionBatch",
    "Deployment",
    "DrainedMachine",
    "EpochRows",
    "Flag",
    "Goal",
    "Invitation",
    "Iteration",
    "Label",
    "LeftOutRow",
    "Membership",
    "OneTimePassword",
    "PlanStep",
    "Prediction",
    "Project",
    "Role",
    "RowClaim",
    "RowMark",
    "RowSkip",
    "Sample",
    "SavedFilter",
    "Source",
    "Stage",
    "SubmittedBatch",
    "TextPage",
    "Upload",
    "Webhook",
]
