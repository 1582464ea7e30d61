"""Constants of the label model: what each one is, and what it was measured on. Loads nothing, for pages.

"Not varied" means that no record of other values is kept. All were set while watching MR, AG News, SMS, Waimai, Titanic
and Adult; of the airline tweets' figures only the assumed shared error depends (docs/benchmarks.md).
"""

from __future__ import annotations

# ---- Who is right where the small models contradict the LLM ----

# Log-odds of the LLM being right are multiplied by it in the decision. 33 combinations of corpus and noise: with 1,
# mistakes that depend on the row keep too much of the LLM's vote; 3 mends that and leaves strong LLMs alone.
SHARPNESS = 3.0
# The same once models were fitted to a verdict: they repeat fewer of the LLM's mistakes. AG News, labels of the embedded
# LLM, three seeds: 81.9 % with 3, 83.8 with 6; with hard labels hardly a difference.
REFITTED_SHARPNESS = 6.0
# Share of contradicted rows on which the LLM can be estimated to be wrong. Not varied.
LEAST_WRONG, MOST_WRONG = 0.02, 0.98
# Estimate from which on it holds although it falls when class shares are divided out. SMS with 20 % wrong labels (0.76) against
# Financial PhraseBank (0.59), German credit (0.54) and GPT-4o's headlines (0.54).
BEYOND_DOUBT = 0.7
# Imagined contradicted rows on which the LLM is right, against chance in small corpora. Not varied.
PRIOR_ROWS = 3.0
# Error rate of the pooled small models, per rate q at which one alone contradicts the LLM: both wrong (q) and a little
# less than half of the rest (2 q). Not varied.
POOLED_ERROR = 1.8
# Highest accuracy that the pooled small models are taken to have. Not varied.
MOST_RIGHT = 0.995
# Highest weight of the LLM's vote, where the small models' is 1. Not varied.
MOST_WEIGHT = 12.0
# A class to which the small models give less than this share of the rows that the LLM gives it is not counted. 21 small
# corpora (200 to 500 rows), a weak classifier's mistakes: 1.4 points better than counting it.
LEAST_GIVEN = 0.2

# ---- The LLM's vote ----

# Probability of a label without a distribution, where no other label has one. Not varied.
UNSTATED_CONFIDENCE = 0.9
# Least probability that the LLM's vote gives a label. Not varied.
LEAST_PROBABILITY = 1e-3
# Imagined rows of the old class shares, where rows without a readable answer get their own (MR with ChatGPT: two thirds
# of them are positive, 46 % of its labels are). Not varied.
PRIOR_UNREADABLE = 40.0

# Share of rows with an LLM's label below which the others count as never asked, not as unreadable. Not varied.
LEAST_ASKED = 0.8

# ---- Risk, and checked rows ----

# Share of wrong labels assumed where all opinions agree, until people have checked rows; then the prior mean of the shared error
# of the model of their answers. 17 cells, 40 random answers, worst ratio of the true to the told error of likely right
# rows: 1.5 with 0.05, 1.3 with 0.12, at the same accuracy.
SHARED_ERROR = 0.12
# The range that is told with it, until people have checked rows. The same corpora, and SemEval with Mixtral's labels (41 %).
LEAST_SHARED_ERROR, MOST_SHARED_ERROR = 0.01, 0.4
# Checked rows from which on the weights of the views are fitted to them, and from which on the risk is no guess any more.
FEWEST_CHECKED, FEWEST_KNOWN = 10, 40
# Priors of that model. Of the weights of the LLM's log-vote, the views on the encoder's features, those on words and each
# further view, means and deviations; deviations of the class intercepts, whose mean is 0, and of the shared error's logit.
# The same cells: class deviations of 0.4, 0.6, 0.8 give 0.826, 0.828, 0.828 right labels.
VIEW_WEIGHTS, VIEW_DEVIATIONS = (0.7, 0.6, 0.4, 0.4), (0.7, 0.9, 0.7, 0.5)
CLASS_DEVIATION, SHARED_DEVIATION = 0.8, 1.2
# Sets of parameters drawn from their posterior, over which probabilities are averaged, and steps of the sampler before them.
DRAWS, WARM_UP = 64, 20

# ---- Small models fitted to the verdict ----

# Most rounds of it. On Adult four with the network in each move to the commoner class, without it they don't
# (decision 5); on texts not varied.
REFITS = 4
# A class left with less than this share of the rows that it was given ends the rounds, and the last one is undone. Not varied.
LEAST_KEPT = 0.3
# Leaves and number of the trees that are fitted to it. On Adult smaller ones, stumps too, bring no gain (decision 5).
REFITTED_TREES = {"leaves": 4, "trees": 60}

# ---- Classifiers ----

# Neighbours that vote, each with exp(sharpness * (cosine - 1)). Not varied.
NEIGHBOURS, NEIGHBOUR_SHARPNESS = 20, 5.0
MOST_REFERENCES = 20_000  # rows that can be neighbours: keeps the vote linear in the number of rows
MOST_NGRAMS = 60_000
# Inverse ridge of the logistic regression on n-grams. Not varied.
NGRAM_STRENGTH = 2.0


def least_right(count: int) -> float:
    """Lowest accuracy that the pooled small models are taken to have with ``count`` labels: a little over chance."""
    return 1.0 / count + 0.05
