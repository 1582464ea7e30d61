"""What Prometheus asks for. Jobs are counted in the database when it asks, so every web process tells the same of them."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator

from django.conf import settings
from django.db.models import Count, Q, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from annotation.jobs import turns
from annotation.jobs.details import ModelDetail, stage_cost
from annotation.models import Stage

BUCKETS = (0.05, 0.1, 0.2, 0.4, 1.0, 2.0, 5.0, 20.0)


class JobCollector(Collector):
    """Figures of all jobs, the parts of one counted with it."""

    def collect(self) -> Iterator[Metric]:
        yield from _queues()
        jobs = GaugeMetricFamily("coral_jobs", "Jobs by kind and state.", labels=["kind", "status"])
        rows = CounterMetricFamily("coral_rows", "Rows that jobs have done.", labels=["kind"])
        seconds = CounterMetricFamily("coral_job_seconds", "Time at work.", labels=["kind"])
        lost = CounterMetricFamily(
            "coral_leases_lost", "Workers that died at a job since it got further.", labels=["kind"]
        )
        stages = Stage.objects.filter(parent=None).order_by()
        for found in stages.values("kind", "status").annotate(count=Count("pk")):
            jobs.add_metric([found["kind"], found["status"]], found["count"])
        sums = {"all_done": Sum("done"), "at_work": Sum("seconds"), "died": Sum("crashes")}
        for kind, done, at_work, died in stages.values("kind").annotate(**sums).values_list("kind", *sums):
            rows.add_metric([kind], done)
            seconds.add_metric([kind], at_work)
            lost.add_metric([kind], died)
        yield from (jobs, rows, seconds, lost)
        yield from _calls()


def _queues() -> Iterator[Metric]:
    waiting = GaugeMetricFamily("coral_queue_jobs", "Jobs that wait for a worker.", labels=["queue"])
    oldest = GaugeMetricFamily(
        "coral_queue_wait_seconds", "Wait of the job that has waited longest.", labels=["queue"]
    )
    for queue in turns.queues():
        found = turns.waiting_in(queue)
        first = min((stage.queued_at for stage in found), default=None)
        waiting.add_metric([queue], len(found))
        oldest.add_metric([queue], max(0.0, (timezone.now() - first).total_seconds()) if first else 0.0)
    yield from (waiting, oldest)


def _calls() -> Iterator[Metric]:
    """Tokens, money and failed calls of the jobs that asked a language model."""
    tokens: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    money = 0.0
    asked = Stage.objects.filter(Q(tokens_in__gt=0) | Q(detail__has_key="calls"), parent=None)
    for stage in asked.only("kind", "detail", "tokens_in", "tokens_out").iterator():
        tokens.update({"in": stage.tokens_in, "out": stage.tokens_out})
        failures.update(ModelDetail.of(stage).calls.get("failures", {}))
        money += stage_cost(stage) or 0.0
    for name, text, label, counts in (
        ("coral_tokens", "Tokens of language models, read and written.", "direction", tokens),
        ("coral_failed_calls", "Calls to language models that failed.", "kind", failures),
    ):
        family = CounterMetricFamily(name, text, labels=[label])
        for value, count in counts.items():
            family.add_metric([value], count)
        yield family
    yield CounterMetricFamily(
        "coral_money", "Cost of language models, at the prices that were set.", value=money
    )


REGISTRY = CollectorRegistry()
REGISTRY.register(JobCollector())
SECONDS = Histogram(
    "coral_request_seconds",
    "Time to answer, of this web process.",
    ["view"],
    buckets=BUCKETS,
    registry=REGISTRY,
)


class RequestTimeMiddleware:
    """Counts how long pages take, by the name of their view."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        response = self._get_response(request)
        if request.resolver_match:
            SECONDS.labels(request.resolver_match.view_name).observe(time.perf_counter() - began)
        return response


@never_cache
@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    """The figures, for whoever sends ``CORAL_METRICS_TOKEN``; no such page where none is set."""
    sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not settings.METRICS_TOKEN or not secrets.compare_digest(
        sent.encode(), settings.METRICS_TOKEN.encode()
    ):
        raise Http404
    return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)
