"""A project with rows that were drawn at random and answered, and what is done with it later."""

from __future__ import annotations

from annotation.jobs import kinds
from annotation.jobs.work import work_on
from annotation.models import (
    Correction,
    Iteration,
    Prediction,
    Project,
    Source,
    Stage,
)
from annotation.pipeline.iterate import restore_round
from annotation.pipeline.measure import draw_sample, round_metrics
from annotation.pipeline.review import corrections


def answer_all(project: Project) -> None:
    for sample in draw_sample.pending_draws(project, project.owner):
        corrections.correct_sample(
            sample.pk, label_id=sample.reference_id, user=project.owner, because=Correction.Because.AUDIT
        )


def judged_again(project: Project, verdicts: dict[int, int]) -> Iteration:
    """A second round whose models say the same as the first but for some positions."""
    first = project.iterations.get()
    second = Iteration.objects.create(
        project=project,
        number=2,
        started_from="slm",
        labels=first.labels,
        prompt={},
        llm_settings={},
        slm_settings={},
    )
    for said in first.predictions.filter(source="slm").select_related("sample"):
        label_id = verdicts.get(said.sample.position, said.verdict_id)
        said.pk, said.iteration, said.verdict_id, said.label_id = None, second, label_id, label_id
        said.save()
    Stage.objects.create(project=project, iteration=second, kind=kinds.SLM.key, status=Stage.Status.DONE)
    for sample in project.samples.all():
        if sample.source != Source.PERSON:
            sample.label_id = second.predictions.get(sample=sample).verdict_id
            sample.source, sample.round = Source.SLM, 2
            sample.save()
    round_metrics.record_metrics(second)
    return second


def wrong_label(project: Project, position: int) -> int:
    return project.label_list()[1 - position % 2].pk


def answer_half(project: Project) -> None:
    """Six of sixty labels are wrong, and thirty random rows are answered."""
    for position in range(0, 60, 10):
        rows = Prediction.objects.filter(sample__project=project, sample__position=position, source="slm")
        rows.update(verdict=wrong_label(project, position))
        project.samples.filter(position=position).update(label=wrong_label(project, position))
    round_metrics.record_metrics(project.iterations.get())
    draw_sample.draw_sample(project, rows=30, user=project.owner, seed=0)
    answer_all(project)


def run_restore(iteration: Iteration) -> None:
    stage = restore_round.start_restore(iteration, user=iteration.project.owner)
    with work_on(stage.pk) as job:
        assert job is not None
        restore_round.run_restore(job)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.DONE, stage.error
