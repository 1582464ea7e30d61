"""``from mlcore import ...``: every public name is there, and none of them loads torch before it is asked for."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import mlcore


@pytest.mark.parametrize("name", mlcore.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(mlcore, name)
    if name != "NO_LABEL":
        assert value.__name__ == name
        assert inspect.getdoc(value)


def test_an_unknown_name_is_refused_as_by_any_module() -> None:
    with pytest.raises(ImportError, match="no_such_name"):
        from mlcore import no_such_name  # noqa: F401


def test_settings_load_neither_torch_nor_scikit_learn() -> None:
    script = (
        "import sys\n"
        "from mlcore import Corpus, DistillConfig, LlmConfig, NoisyLabels\n"
        "print({'torch', 'sklearn', 'transformers', 'scipy'} & set(sys.modules))\n"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "set()"
