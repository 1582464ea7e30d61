"""Simulated people answer until the certificate holds: is the promise kept, and with how few answers?

Labels: real ones of LLMs (misinfo, MR, SemEval), and mistakes that a weak classifier makes (the flips). The risk is learned from
words, the LLM's label and what it says of its confidence, by a logistic regression on the rows answered so far: a quick
stand-in for the verdict. The file's labels stay as the LLM gave them until people decide, so all draws are evidence.
The peer is PAC labels (Candes and Zrnic 2025), written from the paper, with the LLM's confidence or the same words' risk.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mlcore.measure.beta import beta_quantile
from mlcore.plan.answers import plan_answers, simulate_wrong
from mlcore.plan.betting import log_capital
from mlcore.plan.certificate import FIRST_ATTEMPT, Evidence, bound_accuracy, draws_of
from mlcore.plan.records import Answer, Goal
from mlcore.records import BoolArray, FloatArray, IntArray
from tests.bench.harness import Options, Report, run_bench
from tests.bench.scores import index_labels, read

ROWS, FIRST, REFIT, PAC_ROWS = 2_000, 40, 100, 500
CORPORA = {  # file, flips
    "misinfo": ("misinfo_gpt4o.csv", None),
    "mr": ("mr.csv", None),
    "semeval": ("semeval_relations.csv", None),
    "agnews": ("agnews.csv", "agnews_20_0.csv"),
    "sms": ("sms_spam.csv", "sms_spam_20_0.csv"),
    "finance": ("fin_phrasebank.csv", "fin_phrasebank_20_0.csv"),
    "subj": ("subj.csv", "subj_20_0.csv"),
    "banking77": ("banking77.csv", "banking77_20_0.csv"),
    "hotel": ("zh_hotel.csv", "zh_hotel_20_0.csv"),
}


@dataclass
class Data:
    """A corpus: the LLM's labels, the truth, features for the risk, and the LLM's own doubt, NaN where it stated none."""

    labels: IntArray
    truth: IntArray
    features: FloatArray
    doubt: FloatArray
    count: int


@dataclass
class Run:
    """One simulated run, and what people said in it."""

    data: Data
    goal: Goal
    said: IntArray
    error: float | None
    rng: np.random.Generator
    answers: list[Answer] = field(default_factory=list)
    drawn_risk: float = 0.0
    drawn_wrong: int = 0
    forecasts: list[bool] = field(default_factory=list)
    reached: int | None = None
    wrong: int = field(init=False)

    def __post_init__(self) -> None:
        self.wrong = int((self.data.labels != self.data.truth).sum())

    @property
    def open(self) -> BoolArray:
        mask = np.ones(len(self.said), dtype=bool)
        mask[[answer.row for answer in self.answers]] = False
        return mask

    def final(self) -> IntArray:
        labels = self.data.labels.copy()
        for answer in self.answers:
            labels[answer.row] = answer.label
        return labels

    @property
    def evidence(self) -> Evidence:
        none, changed = np.zeros((2, len(self.said)), dtype=bool)
        return Evidence(self.final(), self.answers, none, changed, np.zeros(len(self.said)), self.error)

    def ask(self, row: int, chance: float | None, risk: FloatArray) -> None:
        self.answers.append(Answer(row, int(self.data.labels[row]), int(self.said[row]), chance))
        if chance is not None:
            self.drawn_risk += float(risk[row])
            self.drawn_wrong += int(self.said[row] != self.data.labels[row])
        truth = self.data.truth[row]
        self.wrong += int(self.said[row] != truth) - int(self.data.labels[row] != truth)
        if self.reached is None and self.wrong <= (1.0 - self.goal.target) * len(self.said):
            self.reached = len(self.answers)

    def learn(self) -> FloatArray:
        """Risk of every row, from the answers so far; before there are enough, from the LLM's doubt."""
        from sklearn.linear_model import LogisticRegression

        rows = np.array([answer.row for answer in self.answers], dtype=int)
        wrong = self.said[rows] != self.data.labels[rows]
        if not wrong.any() or wrong.all():
            return np.full(len(self.said), (wrong.sum() + 0.5) / (len(rows) + 1.0))
        model = LogisticRegression(C=0.5, max_iter=200).fit(self.data.features[rows], wrong)
        return np.asarray(model.predict_proba(self.data.features)[:, 1])


def load(options: Options, name: str) -> Data:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    file, flips = CORPORA[name]
    frame = read(options, file)
    frame["given"] = read(options, f"flips/{flips}")["noisy_label"] if flips else frame["llm_label"]
    names = sorted(frame["label"].unique())
    frame = frame[frame["given"].isin(names)]
    frame = frame.sample(min(300 if options.quick else ROWS, len(frame)), random_state=0)
    labels, truth = (index_labels(frame[column], names) for column in ("given", "label"))
    words = TfidfVectorizer(ngram_range=(1, 3), analyzer="char_wb" if name == "hotel" else "word")
    texts = words.fit_transform(frame["text"])
    size = min(100, texts.shape[1] - 1)
    dense = TruncatedSVD(size, random_state=0).fit_transform(texts)
    probs = np.zeros((len(labels), len(names)))
    seen = np.unique(labels)
    folds = min(5, int(np.bincount(labels)[seen].min()))
    model = LogisticRegression(C=10.0, max_iter=200)
    probs[:, seen] = cross_val_predict(model, dense, labels, cv=max(folds, 2), method="predict_proba")
    own = np.maximum(probs[np.arange(len(labels)), labels], 1e-4)
    doubt = 1.0 - own
    stated = np.zeros((len(labels), 1))
    if "llm_confidence" in frame:
        doubt = 1.0 - pd.to_numeric(frame["llm_confidence"]).to_numpy()
        stated = np.log((1.02 - doubt) / (0.02 + doubt))[:, None]
    margin = np.log(own / np.maximum(1.0 - own, 1e-4))[:, None]
    given = np.eye(len(names))[labels]
    sides = dense * np.where(labels == 0, 1.0, -1.0)[:, None] if len(names) == 2 else dense
    features = np.hstack([3.0 * sides, margin, stated, given, given * stated])
    return Data(labels, truth, features, doubt, len(names))


def simulate(data: Data, right: float, seed: int) -> Run:
    """People are asked until the certificate holds, or all rows are asked."""
    rng = np.random.default_rng(seed)
    slips = (rng.random(len(data.truth)) >= right) & (data.count > 1)
    said = np.where(
        slips, (data.truth + rng.integers(1, max(data.count, 2), len(slips))) % data.count, data.truth
    )
    run = Run(data, Goal(), said, 1.0 - right or None, rng)
    risk = np.full(len(said), float(data.doubt.mean()))
    draw(run, FIRST, risk)
    learned = 0
    while run.open.any():
        if len(run.answers) - learned >= REFIT or not learned:
            risk, learned = run.learn(), len(run.answers)
            run.drawn_risk, run.drawn_wrong = 0.0, 0
        if ask_next(run, risk):
            break
    return run


def ask_next(run: Run, risk: FloatArray) -> bool:
    """Plan, ask, and compare; whether the target is shown."""
    is_open = run.open
    rows, error = len(is_open), run.error or 0.0
    everything = np.ones(rows, dtype=bool)
    draws, known = draws_of(run.evidence, everything)
    # What the certificate will take off for people's errors: of open rows, of decided ones, and for chance.
    chance = 2.33 * np.sqrt(rows * error * (1 - error))
    still = int(is_open.sum())
    allowed = ((1 - run.goal.target) * rows - error * (rows - still) - chance) * (
        1 - 2 * error
    ) + error * still
    bar = np.log(1.0 / (0.05 * FIRST_ATTEMPT * (0.8 if error else 1.0)))
    won = float(log_capital(draws, np.array([known + int(max(allowed, -1)) + 1]), 1)[0])
    if (won >= bar or not still) and bound_accuracy(
        run.evidence, everything, run.goal
    ).low >= run.goal.target:
        return True
    plan = plan_answers(risk[is_open], allowed, max(bar - won, 0.0))
    amount = min(max(plan.review // 3, 10), 50) if plan.review > 5 else min(max(plan.draw // 5, 5), 25)
    amount = min(amount, still)
    order = np.flatnonzero(is_open)[np.argsort(-risk[is_open])]
    after = risk[order[amount:]] if plan.review > 5 else risk[is_open] * (1 - amount / still)
    wrong = simulate_wrong(after, run.drawn_risk, run.drawn_wrong, run.rng)
    if plan.review > 5:
        for row in order[:amount]:
            run.ask(int(row), None, risk)
    else:
        draw(run, amount, risk)
    left = int((run.open & (run.data.labels != run.said)).sum())
    run.forecasts.append(bool(np.quantile(wrong, 0.05) <= left <= np.quantile(wrong, 0.95)))
    return False


def draw(run: Run, amount: int, risk: FloatArray) -> None:
    rows = run.rng.permutation(np.flatnonzero(run.open))
    for index, row in enumerate(rows[:amount]):
        run.ask(int(row), 1.0 / (len(rows) - index), risk)


def pac_share(data: Data, seed: int, target: float = 0.95, confidence: float = 0.95) -> float:
    """Share of rows that people label with PAC labels: a sample, and all rows above the threshold of doubt."""
    rng, rows = np.random.default_rng(seed), len(data.labels)
    sample = rng.permutation(rows)[: min(PAC_ROWS, rows // 4)]
    doubt = data.doubt + rng.random(rows) * 1e-6  # many rows have the same: ties are broken by chance
    wrong = data.labels != data.truth
    threshold = -1.0
    for candidate in np.sort(doubt[sample]):
        count = int((wrong[sample] & (doubt[sample] <= candidate)).sum())
        if beta_quantile(confidence, count + 1.0, float(len(sample) - count)) > 1.0 - target:
            break
        threshold = float(candidate)
    asked = doubt > threshold
    asked[sample] = True
    return float(asked.mean())


def measure(options: Options, report: Report) -> None:
    draws = 2 if options.quick else options.extra.draws
    kept, late, covered, below = dict[str, float](), list[float](), list[bool](), list[float]()
    for name in options.extra.only.split(",") if options.extra.only else CORPORA:
        data = load(options, name)
        pac = 1.0 - float(np.mean([pac_share(data, seed) for seed in range(draws)]))
        for right in (1.0, 0.97):
            runs = [simulate(data, right, seed) for seed in range(draws)]
            everything = np.ones(len(data.truth), dtype=bool)
            lows = [bound_accuracy(run.evidence, everything, run.goal).low for run in runs]
            held = [
                (run.final() == data.truth).mean() >= low - 1e-9 for run, low in zip(runs, lows, strict=True)
            ]
            saved = 1.0 - float(np.mean([len(run.answers) for run in runs])) / len(data.truth)
            ratios = [len(run.answers) / max(run.reached or len(run.answers), 59) for run in runs]
            kept[f"{name} {right}"] = float(np.mean(held))
            late += ratios
            covered += [inside for run in runs for inside in run.forecasts]
            if right == 1.0:
                below.append(saved - pac)
            if name == "misinfo":
                suffix = "" if right == 1.0 else "_people_97"
                report.measure(f"human_share_saved{suffix}", saved, must="" if suffix else ">= 0.45")
            report.row(
                data=name,
                people=right,
                rows=len(data.truth),
                labels=float((data.labels == data.truth).mean()),
                kept=kept[f"{name} {right}"],
                saved=saved,
                pac=pac,
                late=float(np.median(ratios)),
            )
    report.measure("promise_kept", min(kept.values()), unit="worst corpus", must=">= 0.95")
    report.measure("saved_less_than_pac", -min(below), unit="worst corpus", must="<= 0")
    report.measure("stops_too_late", float(np.median(late)), must="<= 1.3")
    report.measure("forecast_covers", float(np.mean(covered)), must=">= 0.85")
    begun = time.perf_counter()
    plan_answers(np.random.default_rng(0).beta(0.5, 3.0, 100_000), 5_000.0, 3.2)
    report.measure("plan_seconds", time.perf_counter() - begun, unit="100,000 rows", must="<= 2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--draws", type=int, default=20, help="runs a corpus")
    parser.add_argument("--only", default="", help="corpora, separated by commas; default all")


if __name__ == "__main__":
    raise SystemExit(run_bench("certified", __doc__, measure, add_arguments=add_arguments))
