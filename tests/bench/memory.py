"""The memory that a training takes for each row, beside the rows' features, which lie in a file.

Two corpora of made-up texts and of different sizes go through the whole distillation, each in a process of its own, with
an encoder of random weights that has the width of the embedded one. What the larger one needs more at its peak, divided
by the rows that it has more, is the figure. Pages of mapped files are not counted: the system takes them back when it
needs the room.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, NoisyLabels
from mlcore.distill.distill import distill_labels
from mlcore.records import NO_LABEL
from tests.bench.harness import Options, Report, in_process, run_bench
from tests.support.tiny_encoder import save_encoder

SIZES, QUICK = (4_000, 12_000), (300, 600)
WORDS = 20_000
MOST_BYTES = 4_096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows", type=int, nargs=2, default=SIZES, help="of the smaller and the larger corpus"
    )


def measure(options: Options, report: Report) -> None:
    small, large = QUICK if options.quick else options.extra.rows
    peaks = []
    for rows in (small, large):
        peak = in_process(train_and_watch, rows)
        report.row(rows=rows, peak_mb=peak / 1e6)
        peaks.append(peak)
    report.measure("bytes_a_row", (peaks[1] - peaks[0]) / (large - small), unit="B", must=f"<= {MOST_BYTES}")


def train_and_watch(rows: int) -> float:
    """The most memory of this process, in bytes, while it distils that many rows."""
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(WORDS)]
    truth = rng.integers(0, 4, rows)
    frequent = rng.zipf(1.3, (rows, 20)) % WORDS
    texts = [
        " ".join(words[word] for word in [*row, WORDS - 1 - label])
        for row, label in zip(frequent, truth, strict=True)
    ]
    given = np.where(rng.random(rows) < 0.2, rng.integers(0, 4, rows), truth)
    with tempfile.TemporaryDirectory() as folder:
        # Of the embedded encoder's width, and with pieces for every word below.
        pieces = ["w", *"0123456789"]
        words = [*pieces, *(f"##{piece}" for piece in pieces)]
        save_encoder(Path(folder) / "tiny", words, width=384, layers=3, feed_forward=32)
        highest, ended = [0.0], threading.Event()
        watcher = threading.Thread(target=watch_memory, args=(highest, ended))
        watcher.start()
        labels = NoisyLabels(given, None, np.full(rows, NO_LABEL), 4)
        config = DistillConfig(encoder="tiny", network="head", epochs=4)
        distill_labels(Corpus(texts), labels, config, cache_dir=Path(folder), weights_dir=Path(folder))
        ended.set()
        watcher.join()
    return highest[0]


def watch_memory(highest: list[float], ended: threading.Event) -> None:
    """Keep the highest anonymous memory of this process, looking a hundred times a second."""
    while not ended.is_set():
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                highest[0] = max(highest[0], 1024.0 * float(line.split()[1]))
        time.sleep(0.01)


if __name__ == "__main__":
    run_bench("memory", __doc__, measure, add_arguments=add_arguments)
