"""What the planner says, see :mod:`mlcore.messages`."""

from __future__ import annotations


def gettext_noop(text: str) -> str:
    """Mark a text for translation: makemessages knows this name."""
    return text


PLAN_TEXTS: dict[str, str] = {
    "plan_try": gettext_noop(
        "A few rows tell whether the prompt works, and what the whole corpus will cost."
    ),
    "plan_label": gettext_noop("The LLM gives every row its first label."),
    "plan_label_dear": gettext_noop(
        "Labelling is expected to cost more than is left of the budget, which is enough for about %(percent)s %% of the rows. Lower "
        "“Rows that the LLM is asked about” to that; the small model labels the others. Otherwise it stops where the budget ends."
    ),
    "plan_train_first": gettext_noop("The LLM has labelled the rows; the small model finds its errors."),
    "plan_shown": gettext_noop("The target is shown. The certificate says what holds of the file."),
    "plan_all_decided": gettext_noop("People have decided every row."),
    "plan_minutes_spent": gettext_noop(
        "People's minutes are spent. The certificate shows about %(shown)s so far; about %(answers)s more answers show the target."
    ),
    "plan_random_first": gettext_noop(
        "Random rows first: they measure the file, and the models learn from them."
    ),
    "plan_learn": gettext_noop(
        "The file does not reach the target yet; the small model has not learned from the answers so far."
    ),
    "plan_refine": gettext_noop(
        "The answers so far change the models' verdict: about %(rows)s fewer labels would be wrong. Random rows are drawn anew then."
    ),
    "plan_compare": gettext_noop(
        "The file does not reach the target yet. Asking “%(name)s” about the answered rows tells whether it does better."
    ),
    "plan_relabel": gettext_noop(
        "On %(asked)s answered rows at risk, “%(name)s” is right in %(right)s and the file in %(file_right)s."
    ),
    "plan_out_of_reach": gettext_noop(
        "The target takes about %(answers)s more answers; the minutes left are enough for %(most)s. About %(shown)s can be shown with them."
    ),
    "plan_review": gettext_noop(
        "About %(wrong)s rows are still wrong. Correcting the riskiest ones first takes the fewest answers in all."
    ),
    "plan_measure": gettext_noop("About %(answers)s more answers on random rows show the target."),
}
