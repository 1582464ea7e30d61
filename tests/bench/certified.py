"""Simulated people follow CORAL's plan until the certificate holds: is the promise kept, and with how few answers?

Labels: real ones of LLMs where the corpus has them, else the mistakes of a weak classifier. They are distilled once and kept in
``--cache``; from then on all is CORAL's own: the verdict that is fitted anew to the answers, the plan, the draws, the bound.
People are right always, or in 97 % of the rows; "right" means what they answer, as the certificate says. The peer is PAC labels
(Candes and Zrnic 2025), written from the paper, with the LLM's stated confidence or, without one, the small model's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.config import DistillConfig
from mlcore.corpus import Corpus, NoisyLabels
from mlcore.distill.distill import distill_labels
from mlcore.measure.beta import beta_quantile
from mlcore.plan.certificate import Evidence, bound_accuracy, could_pass
from mlcore.plan.choose import choose_step
from mlcore.plan.draw import EVEN_SHARE, draw_by_risk
from mlcore.plan.records import Answer, Bound, Goal, Limits, Situation
from mlcore.records import NO_LABEL, BoolArray, FloatArray, IntArray
from mlcore.verdict.residual import main_directions
from mlcore.verdict.update import update_verdict
from tests.bench.harness import Options, Report, run_bench
from tests.bench.scores import index_labels, read

REFIT, PAC_ROWS, PACE = 20, 500, 0.1  # answers between updates; rows of the peer's sample; minutes an answer
CORPORA = {  # file, flips, most rows
    "misinfo": ("misinfo_gpt4o", "", 2_000),
    "mr": ("mr", "", 1_000),
    "semeval": ("semeval_relations", "", 1_000),
    "agnews": ("agnews", "_20_0", 1_000),
    "sms": ("sms_spam", "_20_0", 1_000),
    "finance": ("fin_phrasebank", "_20_0", 1_000),
    "subj": ("subj", "_20_0", 1_000),
    "banking77": ("banking77", "_20_0", 1_000),
    "hotel": ("zh_hotel", "_20_0", 1_000),
}


@dataclass
class Data:
    """A corpus as a training left it: the LLM's labels, the truth, and what a project keeps of the training."""

    given: IntArray
    probs: FloatArray | None
    truth: IntArray
    slm: FloatArray
    views: FloatArray
    label: IntArray
    risk: FloatArray
    features: FloatArray
    count: int
    evidence: dict[str, float]

    @property
    def doubt(self) -> FloatArray:
        """Of the LLM's labels: by what it stated, else by the small model."""
        rows = np.arange(len(self.given))
        return 1.0 - (self.slm if self.probs is None else self.probs)[rows, self.given]


@dataclass
class Run:
    """One project, people who answer, and what came of it."""

    data: Data
    said: IntArray
    rng: np.random.Generator
    minutes: float | None = None
    answers: list[Answer] = field(default_factory=list)
    before: list[int] = field(default_factory=list)  # rows that were decided before the labels were written
    forecasts: list[bool] = field(default_factory=list)
    snapshots: list[tuple[int, IntArray, FloatArray]] = field(default_factory=list)
    attempt: int = 1
    drawn: int = 0
    renewal: float = 0.0
    reached: int | None = None
    labels: IntArray = field(init=False)
    risk: FloatArray = field(init=False)
    fitted: Any = None
    goal: Goal = field(default_factory=Goal)

    def __post_init__(self) -> None:
        self.labels, self.risk = self.data.label.copy(), self.data.risk

    @property
    def asked(self) -> int:
        return len(self.before) + len(self.answers)

    @property
    def decided(self) -> BoolArray:
        mask = np.zeros(len(self.said), dtype=bool)
        mask[[*self.before, *(answer.row for answer in self.answers)]] = True
        return mask

    def file(self) -> IntArray:
        return np.where(self.decided, self.said, self.labels)

    def bound(self) -> Bound:
        none, decided = np.zeros((2, len(self.said)), dtype=bool)
        decided[self.before] = True
        evidence = Evidence(self.file(), self.answers, decided, none, self.risk, attempt=self.attempt)
        return bound_accuracy(evidence, np.ones(len(self.said), dtype=bool), self.goal)

    def situation(self) -> Situation:
        drawn = [answer for answer in self.answers if answer.chance is not None]
        opened = ~self.decided
        bound = int(np.ceil((1.0 - self.bound().low) * len(self.said) - 1e-6)) if drawn else None
        return Situation(
            self.goal,
            len(self.said),
            self.risk[opened],
            learned=self.fitted is not None,
            answered=self.drawn,
            drawn_risk=float(self.risk[[answer.row for answer in drawn]].sum()),
            drawn_wrong=sum(answer.label != answer.asked for answer in drawn),
            bound=None if bound is None else min(bound, int(opened.sum())),
            attempt=self.attempt,
            next_attempt=self.attempt + self.passable(),
            renewal=self.renewal,
            minutes_an_answer=PACE,
            minutes=None if self.minutes is None else self.minutes - PACE * self.asked,
        )

    def passable(self) -> bool:
        most = [1.0 / (answer.least or answer.chance) for answer in self.answers if answer.chance]
        return could_pass(most, len(self.said), self.goal, self.attempt)

    def ask(self, answer: Answer) -> None:
        said = int(self.said[answer.row])
        self.answers.append(replace(answer, asked=int(self.labels[answer.row]), label=said))
        self.drawn += answer.chance is not None
        wrong = int((self.file() != self.said).sum())
        if self.reached is None and wrong <= (1.0 - self.goal.target) * len(self.said):
            self.reached = self.asked
        if self.asked % REFIT == 0:
            self.update()

    def update(self) -> None:
        """As the product's update: labels stay where rows were drawn for them."""
        data = self.data
        verified = np.where(self.decided, self.said, NO_LABEL)
        noisy = NoisyLabels(data.given, data.probs, verified, data.count)
        self.fitted = update_verdict(data.views, noisy, data.evidence, data.features)
        if not any(answer.chance for answer in self.answers):
            self.renew()
        self.risk = self.fitted.risk_of(self.labels)
        opened = ~self.decided
        self.renewal = float((self.risk - self.fitted.machine_risk)[opened].sum())

    def renew(self) -> None:
        """Take over the labels that follow from the answers; what was drawn for the old ones is no evidence any more."""
        self.attempt += self.passable()
        self.before += [answer.row for answer in self.answers]
        self.answers, self.labels, self.renewal = [], self.fitted.machine_label.copy(), 0.0
        self.risk = self.fitted.risk_of(self.labels)


def simulate(data: Data, right: float, seed: int, minutes: float | None = None) -> Run:
    """Follow the plan to its end."""
    rng = np.random.default_rng(seed)
    slips = (rng.random(len(data.truth)) >= right) & (data.count > 1)
    others = (data.truth + rng.integers(1, max(data.count, 2), len(slips))) % data.count
    run = Run(data, np.where(slips, others, data.truth), rng, minutes)
    run.goal = Goal(limits=Limits(minutes=minutes))
    while not run.decided.all():
        step, _ = choose_step(run.situation())
        if step is None or step.kind == "stop":
            break
        if step.kind in ("train", "refine"):
            run.update()
            run.renew()
            continue
        even = step.reason.code == "plan_random_first"
        follow(run, step.kind, step.amount, even=even)
        told, came = step.forecast.accuracy, float((run.file() == run.said).mean())
        run.forecasts.append(told.low <= came <= told.high)
    return run


def follow(run: Run, kind: str, amount: int, *, even: bool = False) -> None:
    """Ask people, one row after the other, until the target is shown."""
    opened = np.flatnonzero(~run.decided)
    if kind == "review":
        run.snapshots.append((run.asked, run.labels.copy(), run.risk))
        for row in opened[np.argsort(-run.risk[opened])][: min(amount, REFIT)]:
            run.ask(Answer(int(row), NO_LABEL, NO_LABEL))
        return
    for answer in drawn_answers(run, opened, amount, even=even):
        run.ask(answer)
        if run.bound().low >= run.goal.target:
            return


def drawn_answers(run: Run, opened: IntArray, amount: int, *, even: bool = False) -> list[Answer]:
    drawn = draw_by_risk(run.risk[opened], amount, run.rng, even=1.0 if even else EVEN_SHARE)
    odds = np.stack([drawn.chance, drawn.least, drawn.expected, drawn.spread], axis=1).tolist()
    return [
        Answer(
            int(opened[index]),
            int(run.labels[opened[index]]),
            int(run.said[opened[index]]),
            chance,
            None if even else least,
            None if even else expected,
            None if even else spread,
        )
        for index, (chance, least, expected, spread) in zip(drawn.rows, odds, strict=True)
    ]


def fewest(run: Run) -> int:
    """The fewest answers that would have shown the target in this run's order, by the same bound: with hindsight, the best moment to
    go over from review to draws, of those at which the plan looked."""
    best = run.asked
    for asked, labels, risk in run.snapshots[:: max(1, len(run.snapshots) // 5)]:
        order = [*run.before, *(answer.row for answer in run.answers)]
        other = Run(run.data, run.said, np.random.default_rng(0), goal=run.goal, attempt=run.attempt)
        other.labels, other.risk, other.before = labels, risk, order[:asked]
        other.fitted = run.fitted
        while other.asked < best and other.bound().low < run.goal.target:
            other.answers += drawn_answers(other, np.flatnonzero(~other.decided), REFIT)
        best = min(best, other.asked)
    return best


def pac_share(data: Data, said: IntArray, seed: int, target: float = 0.95, confidence: float = 0.95) -> float:
    """Share of rows that people label with PAC labels: a sample, and all rows above the threshold of doubt."""
    rng, rows = np.random.default_rng(seed), len(data.given)
    sample = rng.permutation(rows)[: min(PAC_ROWS, rows // 4)]
    doubt = data.doubt + rng.random(rows) * 1e-6  # many rows have the same: ties are broken by chance
    wrong = data.given != said
    threshold = -1.0
    for candidate in np.sort(doubt[sample]):
        count = int((wrong[sample] & (doubt[sample] <= candidate)).sum())
        if beta_quantile(confidence, count + 1.0, float(len(sample) - count)) > 1.0 - target:
            break
        threshold = float(candidate)
    asked = doubt > threshold
    asked[sample] = True
    return float(asked.mean())


def load(options: Options, name: str, cache: Path) -> Data:
    """A corpus, distilled without any answer; read from the cache if it was before."""
    file, flips, most = CORPORA[name]
    rows = 300 if options.quick else most
    kept = cache / f"certified-{name}-{rows}.npz"
    if not kept.exists():
        frame = read(options, f"{file}.csv")
        frame["given"] = (
            read(options, f"flips/{file}{flips}.csv")["noisy_label"] if flips else frame["llm_label"]
        )
        frame = frame[frame["given"] != ""]  # of the rows of the test split the LLM was not asked
        names = sorted(frame["label"].unique())
        chosen = np.sort(np.random.default_rng(0).permutation(len(frame))[:rows])
        frame = frame.iloc[chosen]
        given, truth = (index_labels(frame[column], names) for column in ("given", "label"))
        probs = np.zeros((0, 0))
        if "llm_confidence" in frame:
            stated = frame["llm_confidence"].astype(float).to_numpy()
            probs = np.repeat(((1.0 - stated) / (len(names) - 1))[:, None], len(names), axis=1)
            probs[np.arange(len(given)), given] = stated
        nobody = np.full(len(given), NO_LABEL)
        noisy = NoisyLabels(given, probs if probs.size else None, nobody, len(names))
        result = distill_labels(Corpus(list(frame["text"])), noisy, DistillConfig(), cache_dir=cache)
        keys, values = list(result.evidence), list(result.evidence.values())
        np.savez(
            kept,
            given=given,
            truth=truth,
            probs=probs,
            slm=result.probs,
            views=result.views,
            label=result.machine_label,
            risk=result.machine_risk,
            features=result.features,
            keys=keys,
            values=values,
        )
    with np.load(kept) as stored:
        arrays = dict(stored)
    evidence = dict(zip(arrays.pop("keys").tolist(), arrays.pop("values").tolist(), strict=True))
    probs, features = arrays.pop("probs"), main_directions(arrays.pop("features"))
    return Data(
        **arrays,
        probs=probs if probs.size else None,
        features=features,
        count=arrays["slm"].shape[1],
        evidence=evidence,
    )


def measure(options: Options, report: Report) -> None:
    draws = 2 if options.quick else options.extra.draws
    kept, late, covered, below, exceeded = dict[str, float](), list[float](), list[bool](), list[float](), 0
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.extra.cache or Path(temporary)
        for name in options.extra.only.split(",") if options.extra.only else CORPORA:
            data = load(options, name, cache)
            for right in (1.0, 0.97):
                runs = [simulate(data, right, seed) for seed in range(draws)]
                lows = [run.bound().low for run in runs]
                held = [
                    (run.file() == run.said).mean() >= low - 1e-9 for run, low in zip(runs, lows, strict=True)
                ]
                saved = 1.0 - float(np.mean([run.asked for run in runs])) / len(data.truth)
                pac = 1.0 - float(np.mean([pac_share(data, run.said, seed) for seed, run in enumerate(runs)]))
                ratios = [run.asked / fewest(run) for run in runs]
                kept[f"{name} {right}"] = float(np.mean(held))
                late += ratios
                below.append(saved - pac)
                covered += [inside for run in runs for inside in run.forecasts]
                if name == "misinfo":
                    suffix = "" if right == 1.0 else "_people_97"
                    report.measure(f"human_share_saved{suffix}", saved, must=">= 0.45")
                report.row(
                    data=name,
                    people=right,
                    rows=len(data.truth),
                    labels=float((data.given == data.truth).mean()),
                    verdict=float((data.label == data.truth).mean()),
                    kept=kept[f"{name} {right}"],
                    saved=saved,
                    pac=pac,
                    late=float(np.median(ratios)),
                    over_reached=float(
                        np.median([run.asked / max(run.reached or run.asked, 59) for run in runs])
                    ),
                    truth=float(np.mean([(run.file() == data.truth).mean() for run in runs])),
                    attempts=float(np.mean([run.attempt for run in runs])),
                )
            minutes = 0.3 * PACE * len(data.truth)
            limited = [simulate(data, 1.0, seed, minutes) for seed in range(draws)]
            exceeded += sum(PACE * run.asked > minutes for run in limited)
    report.measure("promise_kept", min(kept.values()), unit="worst corpus", must=">= 0.95")
    report.measure("saved_less_than_pac", -min(below), unit="worst corpus", must="<= 0")
    report.measure("stops_too_late", float(np.median(late)), must="<= 1.3")
    report.measure("forecast_covers", float(np.mean(covered)), must=">= 0.85")
    report.measure("budget_exceeded", float(exceeded), unit="runs", must="<= 0")
    report.measure("plan_seconds", plan_seconds(100_000), unit="100,000 rows", must="<= 2")


def plan_seconds(rows: int) -> float:
    """How long a plan takes after 400 answers, of which 200 were drawn: the bound for the file as it is, and the choice of a step."""
    rng = np.random.default_rng(0)
    truth, nothing = np.zeros(rows, dtype=np.int64), np.zeros((rows, 1))
    risk = rng.beta(0.5, 3.0, rows)
    said = (rng.random(rows) < risk).astype(np.int64)
    data = Data(truth, None, truth, nothing, nothing, truth, risk, nothing, 2, {})
    run = Run(data, said, rng)
    run.before = np.argsort(-risk)[:200].tolist()
    run.fitted, opened = object(), np.flatnonzero(~run.decided)
    run.answers, run.drawn = drawn_answers(run, opened, 200), 200
    begun = time.perf_counter()
    choose_step(run.situation())
    return time.perf_counter() - begun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--draws", type=int, default=20, help="runs a corpus")
    parser.add_argument("--only", default="", help="corpora, separated by commas; default all")
    parser.add_argument(
        "--cache", type=Path, help="where distilled corpora are kept; default a temporary folder"
    )


if __name__ == "__main__":
    raise SystemExit(run_bench("certified", __doc__, measure, add_arguments=add_arguments))
