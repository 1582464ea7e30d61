"""What the methods of the unseen suite share: the models' opinions of a cell, trained once and kept on disk.

The folder of ``--cache`` is to be emptied after a change of how models are trained; decisions are made anew in every run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from mlcore.config import DistillConfig
from mlcore.corpus import Distilled, NoisyLabels
from mlcore.distill.distill import choose_method
from mlcore.distill.results import label_model_result
from mlcore.records import NO_LABEL, BoolArray, FloatArray, IntArray
from mlcore.slm.cross_fit import Trained, assign_folds
from mlcore.slm.heads import standardise
from mlcore.slm.inputs import Inputs, Monitor, limited_threads, prepare
from mlcore.verdict.decide import decide_table, decide_texts
from mlcore.verdict.opinions import CrossFitter
from tests.bench.peers import filter_and_retrain, kept, network_probs
from tests.bench.unseen_cells import Cell


class KeptFitter:
    """The engine's own fitter, which reads what it fitted before from the disk; features are read once something is fitted."""

    def __init__(self, cell: Cell, config: DistillConfig, cache: Path) -> None:
        self.cell, self.config, self.cache = cell, config, cache
        self.key = f"{config.encoder} {cell.name} {config.seed} {len(cell.given)}"

    @cached_property
    def inputs(self) -> Inputs:
        monitor = Monitor(lambda progress: None, lambda: False)
        return prepare(
            self.cell.corpus,
            self.config,
            self.cell.count,
            cache_dir=self.cache,
            weights_dir=None,
            monitor=monitor,
        )

    @cached_property
    def fitter(self) -> CrossFitter:
        corpus, monitor = self.cell.corpus, Monitor(lambda progress: None, lambda: False)
        folds = assign_folds(corpus.texts, self.cell.given, 5, seed=self.config.seed)
        return CrossFitter(corpus, self.inputs, folds, self.cell.count, self.config, monitor)

    def kept(self, name: str, asked: Sequence[Any], fit: Callable[[], Any]) -> Any:
        return kept(self.cache, (name, self.key, *asked), fit)

    def text_opinions(self, *asked: Any) -> Any:
        return self.kept("texts", asked, lambda: self.fitter.text_opinions(*asked))

    def tree_opinions(self, *asked: Any) -> Any:
        return self.kept("trees", asked, lambda: self.fitter.tree_opinions(*asked))

    def refit_texts(self, *asked: Any) -> Any:
        return self.kept("refit texts", asked, lambda: self.fitter.refit_texts(*asked))

    def refit_trees(self, *asked: Any) -> Any:
        return self.kept("refit trees", asked, lambda: self.fitter.refit_trees(*asked))


@dataclass(frozen=True)
class Views:
    """``networks``: out-of-fold probabilities ``(N, K)`` of networks trained by each method. ``refitted (N, K)``: cleanlab's
    after it dropped the labels ``wrong (N,)``. ``fitter``: fits anything else."""

    networks: Mapping[str, FloatArray]
    refitted: FloatArray
    wrong: IntArray
    fitter: KeptFitter

    @property
    def network(self) -> FloatArray:
        """The one that our method trains."""
        return self.networks[choose_method(self.fitter.config, self.fitter.cell.corpus)]


def make_views(cell: Cell, config: DistillConfig, cache: Path) -> Views:
    """Train what all methods need of a cell, or read it."""
    corpus, given, fitter = cell.corpus, cell.given, KeptFitter(cell, config, cache)
    networks: dict[str, FloatArray] = {}
    for method in ("plain", "paper", choose_method(config, corpus)):
        train = partial(network_probs, corpus, given, cell.count, replace(config, method=method), cache)
        networks[method] = fitter.kept("network", (method, given), train)
    refitted, wrong = fitter.kept("cleanlab", (given,), partial(clean_and_refit, fitter))
    return Views(networks, refitted, wrong, fitter)


def clean_and_refit(fitter: KeptFitter) -> tuple[FloatArray, BoolArray]:
    """cleanlab's way on the features that all methods have."""
    strength, matrix, cell = 1.0, fitter.inputs.matrix, fitter.cell
    if cell.corpus.table is None:
        strength, matrix = 3e-4, standardise(matrix).rows(torch.arange(len(matrix))).numpy()
    texts, seed = list(cell.corpus.texts), fitter.config.seed
    return filter_and_retrain(matrix, texts, cell.given, cell.count, strength=strength, seed=seed)


def decide_unasked(cell: Cell, views: Views) -> Distilled:
    """The result of our whole method, refits included, before anybody was asked. The map of the rows is left empty."""
    nobody = np.full(len(cell.given), NO_LABEL)
    noisy = NoisyLabels(cell.given, cell.probs, nobody, cell.count)
    decide = decide_texts if cell.corpus.table is None else decide_table
    trained = Trained(views.network, np.full(len(nobody), np.nan))
    fitter: Any = views.fitter
    with limited_threads(1):
        verdict = decide(fitter, views.network, noisy, np.ones(len(nobody)))
    unmapped: Any = SimpleNamespace(features=np.zeros((len(nobody), 2)), points=np.zeros((len(nobody), 2)))
    return label_model_result(verdict, trained, noisy, unmapped, fitter.config)
