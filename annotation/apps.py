from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from annotation.messages import translate_messages


class AnnotationConfig(AppConfig):
    name = "annotation"
    verbose_name = _("Annotation")

    def ready(self) -> None:
        translate_messages()
