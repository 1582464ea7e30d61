from __future__ import annotations

import json
import logging
import sys

from coral_site.logs import JsonFormatter, TextFormatter

FORGED = "row\r\n12:00:00 ERROR   annotation.jobs.state \x1b[31mall is lost\u2028"


def record(message: str, *arguments: object) -> logging.LogRecord:
    try:
        raise ValueError(FORGED)
    except ValueError:
        return logging.LogRecord("annotation", logging.ERROR, "", 1, message, arguments, sys.exc_info())


def test_data_forges_no_line_of_the_log() -> None:
    first, *others = TextFormatter().format(record("Read %s", FORGED)).split("\n")
    assert "\\r\\n12:00:00 ERROR" in first
    assert all(line.startswith("  ") for line in others), "of the traceback"
    assert all(char.isprintable() for line in (first, *others) for char in line)


def test_a_log_collector_gets_one_object_a_line() -> None:
    line = JsonFormatter().format(record("Read %s", FORGED))
    assert "\n" not in line
    assert json.loads(line)["message"] == f"Read {FORGED}"
