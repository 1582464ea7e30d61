"""The options of ``coral run-rounds``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_file_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the file")
    group.add_argument(
        "--content",
        nargs="+",
        metavar="COLUMN",
        help="columns that the models see (default: the text column by its name; all others of a table)",
    )
    group.add_argument(
        "--id", dest="id_column", metavar="COLUMN", help="column of row ids (default: by its name)"
    )
    group.add_argument(
        "--reference",
        metavar="COLUMN",
        help="column of known labels, for measuring only (default: by its name, such as label)",
    )
    group.add_argument(
        "--labels", nargs="+", metavar="LABEL", help="label names (default: the reference column's values)"
    )
    group.add_argument(
        "--label-file", type=Path, metavar="FILE", help="label names, a line each; a description after a tab"
    )
    group.add_argument(
        "--limit",
        type=int,
        metavar="ROWS",
        help="take only so many rows of a CSV file, drawn at random, the same ones each time",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the models")
    group.add_argument(
        "--llm",
        default="local",
        help="`local` for the embedded model (the default), a model's name, a folder below CORAL_MODEL_DIR, or the address "
        "of a compatible server",
    )
    group.add_argument("--model", default="", help="the model's name on the server that --llm gives")
    group.add_argument(
        "--token-variable", metavar="NAME", help="the environment variable that holds the server's token"
    )
    group.add_argument(
        "--prices", type=float, nargs=2, metavar=("IN", "OUT"), help="of a million tokens read and written"
    )
    group.add_argument(
        "--prompt",
        type=Path,
        metavar="FILE",
        help="a JSON file with the prompt's blocks: description, demonstration, output",
    )
    group.add_argument(
        "--llm-share",
        type=int,
        default=100,
        metavar="PERCENT",
        help="ask the LLM about so many rows a round: random ones first, then the riskiest; the small model labels the others",
    )
    group.add_argument(
        "--ask-all",
        action="store_true",
        help="ask about all rows in later rounds, not only about those at risk",
    )
    group.add_argument("--epochs", type=int, metavar="N", help="training epochs of the small model")


def add_goal_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the goal")
    group.add_argument("--target", type=float, metavar="PERCENT", help="right labels wanted, such as 95")
    group.add_argument(
        "--budget", type=float, metavar="MONEY", help="most that the LLM may cost, at --prices"
    )
    group.add_argument("--minutes", type=int, metavar="N", help="most minutes of people's time")
    group.add_argument(
        "--autopilot",
        action="store_true",
        help="follow the plan to the certificate instead of --rounds; it stops with a link where people are needed",
    )
    group.add_argument(
        "--answers-from-reference",
        action="store_true",
        help="let a scripted person answer from the reference column, for tests and benches",
    )
