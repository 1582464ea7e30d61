"""Warn where the corpus is in a script that the embedded models can't read."""

from __future__ import annotations

import unicodedata

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotation.models import Project
from mlcore.config import EMBEDDED_LLM, SECOND_ENCODER
from mlcore.weights_embedded import installed_encoder

SCRIPT_SAMPLE_ROWS = 200


SCRIPT_SHARE = 0.3  # of the letters; below it, foreign words among English text are no reason to warn


def script_warning(project: Project) -> str:
    """A sentence if the corpus is in a script that a chosen embedded model does not know."""
    models = []
    if project.llm_config.kind == "local" and project.llm_config.model == EMBEDDED_LLM:
        models.append(_("the built-in language model"))
    encoder = installed_encoder(project.distill_config.encoder)
    if project.task.student == "text" and encoder == SECOND_ENCODER:
        models.append(_("the encoder %(name)s") % {"name": encoder})
    if not models or foreign_share(project) < SCRIPT_SHARE:
        return ""
    return ngettext(
        "Many texts are not in Latin script, and %(models)s knows only English, so expect many wrong "
        "labels. Choose models that know the language of the corpus under Models.",
        "Many texts are not in Latin script, and %(models)s know only English, so expect many wrong "
        "labels. Choose models that know the language of the corpus under Models.",
        len(models),
    ) % {"models": _(" and ").join(models)}


def foreign_share(project: Project) -> float:
    """The share of letters outside the Latin script in the first rows."""
    texts = project.samples.order_by("position").values_list("text", flat=True)[:SCRIPT_SAMPLE_ROWS]
    letters = [char for text in texts for char in text[:500] if char.isalpha()]
    foreign = sum(not unicodedata.name(char, "LATIN").startswith("LATIN") for char in letters)
    return foreign / len(letters) if letters else 0.0
