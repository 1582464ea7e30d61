"""One line a record. Control characters of data are escaped, so that a text or a path can't forge a line."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

from django.views.debug import SafeExceptionReporterFilter

from annotation.jobs.run_id import run_id


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _indented(traceback: str) -> str:
    """A traceback quotes data: its lines begin as no record does, and hold no control character."""
    return "\n".join(f"  {_one_line(line)}" for line in traceback.split("\n"))


class TextFormatter(logging.Formatter):
    """For a person: time, level, name, run id, message; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        run = f" [{run_id.get()[:8]}]" if run_id.get() else ""
        line = f"{when} {record.levelname:<7} {record.name}{run} {_one_line(record.getMessage())}"
        return f"{line}\n{_indented(self.formatException(record.exc_info))}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """For a log collector: one JSON object a line, times in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if run_id.get():
            entry["run_id"] = run_id.get()
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class AddressFilter(SafeExceptionReporterFilter):
    """Django's, which hides settings by their names, for the addresses too that hold a password."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|_URL$|_URL_GIVEN$|DATABASES|CHANNEL_LAYERS|BROKER",
        re.I,
    )


def logging_config(level: str, log_format: str) -> dict[str, Any]:
    """Django's LOGGING: one handler to the terminal, as text or as JSON."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {"()": "coral_site.logs.TextFormatter"},
            "json": {"()": "coral_site.logs.JsonFormatter"},
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "json" if log_format == "json" else "text",
            }
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "httpx2": {"level": "WARNING"},
            "axes": {"level": "WARNING"},
            "django.request": {"level": "ERROR"},  # a refused click is no event; a failed page is
            "dramatiq": {"level": "WARNING"},
            "uvicorn.access": {"level": "WARNING"},
        },
    }
