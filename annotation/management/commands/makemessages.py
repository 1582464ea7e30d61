"""Django's command, which also finds the texts of our messages and errors."""

from __future__ import annotations

from django.core.management.commands import makemessages

from annotation.messages import KEYWORDS


class Command(makemessages.Command):
    """``manage.py makemessages``."""

    xgettext_options = [
        *makemessages.Command.xgettext_options,
        *(f"--keyword={name}" for name in KEYWORDS),
    ]
