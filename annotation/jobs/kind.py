"""What a kind of job is; the kinds stand in :mod:`annotation.jobs.kinds`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from annotation.jobs.details import Detail

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

    from annotation.models import Stage

    #: A sentence, or what makes one of the stage; an empty one leaves the word to the general sentence of that state.
    Sentence = StrOrPromise | Callable[[Stage], str]


@dataclass(frozen=True, kw_only=True)
class JobKind:
    """One kind of job.

    Attributes:
        key: as stages store it; at most 20 characters.
        name: what people read.
        queue: the broker's queue that its messages go to, unless it is short work: llm, slm or files.
        is_interactive: whether a person waits for it, so that it goes before long runs.
        counts_rows: whether a stage's ``total`` is its rows from the start, so that small ones go before long runs, too.
        takes_turns: whether a stage that is stopped goes on with nothing lost, so that owners can take turns.
        run: dotted path of the function that does the work, given a Job. Imported where the work is done, only then.
        follow: dotted path of the function that starts what follows, given the ended stage. It is called in the
            transaction that sets the stage to done. Empty if nothing follows.
        after_cancel: dotted path of the function that ends what a cancelled stage left at work elsewhere, given the stage.
        page: URL name of the project's page that shows such stages.
        exclusive_group: of the kinds that share it, a project has one active stage at a time. Empty for any number.
        is_step: whether it is a step of the loop, so that the newest such stage says where the project stands.
        changes_counts: whether it adds rows or sets flags, so that the project's stored counts are counted anew.
        only_reads: whether it leaves rows as they are, so that a file may be imported meanwhile.
        is_aside: whether it never keeps anybody from changing, archiving or deleting the project.
        is_training: whether it trains a model, in a process of its own: its progress is shown in epochs, and a worker is at
            work on few of them at once.
        phases: a sentence on each phase that it reports.
        sentences: of a stage's states (see Stage.state), those whose sentence is another one than usual.
        detail: the type of such stages' ``detail``.
    """

    key: str
    name: StrOrPromise
    run: str
    queue: str = "files"
    is_interactive: bool = False
    counts_rows: bool = False
    takes_turns: bool = False
    follow: str = ""
    after_cancel: str = ""
    page: str = "project"
    exclusive_group: str = ""
    is_step: bool = False
    changes_counts: bool = False
    only_reads: bool = False
    is_aside: bool = False
    is_training: bool = False
    phases: Mapping[str, StrOrPromise] = field(default_factory=dict)
    sentences: Mapping[str, Sentence] = field(default_factory=dict)
    detail: type[Detail] = Detail
