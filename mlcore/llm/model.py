"""The protocol that every language model keeps, and the one place that opens one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Protocol, runtime_checkable

from mlcore.config import LlmConfig
from mlcore.llm.budget import Budget
from mlcore.llm.endpoint.capabilities import Capabilities
from mlcore.llm.endpoint.rate_limit import RateLimiter
from mlcore.records import Answer, LabelSet, Request


class LanguageModel(Protocol):
    """Answers requests with a label each."""

    @property
    def identity(self) -> str:
        """Names model, weights and the way of asking; equal identities give equal answers."""
        ...

    @property
    def rate_limiter(self) -> RateLimiter | None:
        """How hard a server is pressed; None where the model runs in this process."""
        ...

    @property
    def capabilities(self) -> Capabilities | None:
        """What the server was found to take; None before that is settled, and where no server is asked."""
        ...

    def ask(
        self, requests: Sequence[Request], labels: LabelSet, *, should_stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        """Answer every request, in any order, as the answers come.

        A request that fails gives an answer with ``error``; it never ends the others. Ends early, without the
        missing answers, soon after ``should_stop()`` turns true.

        Raises:
            ModelUnavailableError: no request can succeed (wrong token, unknown model, host not allowed).
            ModelCallError: so many calls failed in a row that going on is pointless for now.
            BudgetSpentError: what is left of the budget doesn't cover one more call.
        """
        ...

    def close(self) -> None:
        """Give back threads, connections and memory."""
        ...


@runtime_checkable
class StreamingModel(LanguageModel, Protocol):
    """A language model that may be asked while its requests are still being made."""

    def ask_stream(
        self, items: Iterable[Request | Answer], labels: LabelSet, *, should_stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        """Like :meth:`LanguageModel.ask`, of requests that are drawn as they are needed, some way ahead of the calls.

        They are drawn in the caller's thread. Answers that are known already may stand among them and are handed on,
        so that whoever makes the requests need not keep them.
        """
        ...


# Weights are loaded inside patches of the whole process (the default device, how weights begin). Two threads that load at
# once restore each other's: both fail, or begin with random weights, and so does every load after them.
_LOADING = Lock()


def open_model(
    config: LlmConfig,
    *,
    token: str,
    allowed_hosts: Iterable[str],
    weights_dir: Path | None,
    cache_dir: Path,
    headers: Mapping[str, str] | None = None,
    known: Capabilities | None = None,
    budget: Budget | None = None,
) -> LanguageModel:
    """Open the model that the settings name.

    Args:
        config: which model, and how it is asked.
        token: the user's token for the hub or the endpoint; empty for none. Never the machine's own.
        allowed_hosts: the operator's list of hosts for ``endpoint`` and ``hub`` (``host``, ``host:port``,
            ``*.domain``; ``*`` allows every public host).
        weights_dir: the folder that local models may come from besides the hub and the embedded ones.
        cache_dir: where converted and downloaded weights are kept.
        headers: what else the server wants in the head of a call.
        known: what an earlier run found out of this server and model.
        budget: what ``endpoint`` and ``hub`` may spend; a model on this machine costs nothing.

    Raises:
        ModelUnavailableError: the model can't be loaded, or its address isn't allowed.
    """
    if config.kind == "local":
        from mlcore.llm.local.model import LocalModel  # loads torch, which the web process must not
        from mlcore.weights import resolve_weights

        with _LOADING:
            folder = resolve_weights(config.model, weights_dir=weights_dir, cache_dir=cache_dir, token=token)
            return LocalModel(folder, name=config.model, batch_size=config.batch_size)
    from mlcore.llm.endpoint.client import EndpointModel

    return EndpointModel(
        config,
        token=token,
        allowed_hosts=tuple(allowed_hosts),
        headers=headers,
        known=known,
        budget=budget,
    )
