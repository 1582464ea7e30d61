"""The features of a run's texts, computed piece by piece in processes of their own, before the run reads them from the cache.

``python -m mlcore.distill.encode FOLDER SIZE`` prints ranges of rows with SIZE texts each that are still to be encoded;
``... FOLDER START END`` encodes the rows from START to END. Exit codes as of :mod:`mlcore.distill.folder`; an error that
a person can mend is the last line.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from mlcore.distill.folder import (
    EXIT_ERROR,
    EXIT_STOPPED,
    TOKEN_VARIABLE,
    ProgressLines,
    StopSignal,
    read_inputs,
)
from mlcore.errors import EngineError, StoppedError
from mlcore.records import IntArray
from mlcore.slm.encoders import encode_texts, missing_rows, open_cache
from mlcore.slm.feature_cache import text_keys
from mlcore.slm.inputs import Monitor, open_encoder, whole_characters


def encode_folder(folder: Path, *numbers: int) -> int:
    """Print the ranges or encode the rows of one, see the module; returns the exit code."""
    stopping, token = StopSignal(), os.environ.pop(TOKEN_VARIABLE, "")
    try:
        inputs = read_inputs(folder)
        encoder, _ = open_encoder(
            inputs.config.encoder,
            cache_dir=inputs.cache_dir,
            weights_dir=inputs.weights_dir,
            hub_token=token,
        )
        texts = [whole_characters(text) for text in inputs.corpus.texts]
        if len(numbers) == 1:
            missing = missing_rows(text_keys(texts), open_cache(encoder, inputs.cache_dir))
            print(json.dumps({"ranges": cut(missing, *numbers)}))
            return 0
        texts = texts[slice(*numbers)]
        monitor = Monitor(ProgressLines(), stopping)
        encode_texts(texts, encoder, cache_dir=inputs.cache_dir, on_batch=monitor.report_features(len(texts)))
    except StoppedError:
        return EXIT_STOPPED
    except EngineError as error:
        print(json.dumps({"error": error.message.as_json()}))
        return EXIT_ERROR
    return 0


def cut(missing: IntArray, size: int) -> list[tuple[int, int]]:
    """Ranges of rows, each with at most ``size`` of the missing ones ``(M,)``, in their order."""
    starts = range(0, len(missing), size)
    return [(int(missing[start]), int(missing[start:][:size][-1]) + 1) for start in starts]


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("Usage: python -m mlcore.distill.encode FOLDER SIZE | FOLDER START END")
    sys.exit(encode_folder(Path(sys.argv[1]), *map(int, sys.argv[2:])))
