"""Settings that an earlier version stored still load."""

from __future__ import annotations

from mlcore.config import LlmConfig


def test_settings_survive_storing() -> None:
    config = LlmConfig(kind="endpoint", model="m", second_question_percent=40)
    assert LlmConfig.from_dict(config.as_dict()) == config


def test_a_renamed_setting_is_read_under_its_old_name() -> None:
    stored = LlmConfig().as_dict()
    del stored["second_question_percent"]
    assert LlmConfig.from_dict(stored | {"second_percent": 7}).second_question_percent == 7
