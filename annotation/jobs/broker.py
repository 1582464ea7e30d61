"""What the program asks of the broker: wake a worker, and tell whether one is there.

The broker is a hint and never the truth (that is the stage row), so a broker that is away is logged and no error.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

import dramatiq
import redis
from django.conf import settings
from dramatiq.errors import BrokerConnectionError

logger = logging.getLogger(__name__)

WORKER_SEEN_SECONDS = 60
CONNECT_SECONDS = 2.0

#: The name of the one actor; the queue is each message's own.
ACTOR = "run_stage"


def wake_worker(queue: str, stage_id: int) -> bool:
    """Send a worker of the queue to a stage. False if the broker can't be reached; the reaper then sends again."""
    broker = dramatiq.get_broker()
    broker.declare_queue(queue)  # a web process has not loaded the actors module, which declares it elsewhere
    message = dramatiq.Message(queue_name=queue, actor_name=ACTOR, args=(stage_id,), kwargs={}, options={})
    try:
        broker.enqueue(message)
    except (redis.RedisError, BrokerConnectionError, OSError) as error:
        logger.warning("Stage %d waits in the database, for the broker can't be reached: %s", stage_id, error)
        return False
    return True


def messages_waiting(queue: str) -> int | None:
    """Messages of a queue that no worker has fetched; None where the broker can't be asked."""
    try:
        with _client() as client:
            return int(client.llen(f"dramatiq:{queue}"))
    except (redis.RedisError, OSError):
        return None


def report_worker(queues: Iterable[str]) -> None:
    """Tell that a worker of these queues is alive."""
    try:
        with _client() as client:
            for queue in queues:
                client.set(_worker_key(queue), int(time.time()), ex=WORKER_SEEN_SECONDS)
    except (redis.RedisError, OSError) as error:
        logger.warning("The broker can't be reached: %s", error)


def worker_seen(queue: str) -> bool | None:
    """Whether a worker of the queue reported within the last minute; None if the broker can't be asked."""
    try:
        with _client() as client:
            return bool(client.exists(_worker_key(queue)))
    except (redis.RedisError, OSError):
        return None


def broker_answers(url: str | None = None) -> bool:
    """Whether the broker at this address (the program's own if none is given) answers a PING."""
    try:
        with _client(url) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def shown_address(url: str) -> str:
    """An address for messages and logs: without the password that it may hold."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _worker_key(queue: str) -> str:
    return f"coral:worker:{queue}"


def _client(url: str | None = None) -> redis.Redis:
    return redis.Redis.from_url(
        url or settings.REDIS_URL, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS
    )
