from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlcore.column_kinds import MOST_CATEGORIES, guess_kind
from mlcore.slm.trees import encode_table


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2.5", "", "1e3"], "number"),
        (["1", "2", "1", "3"], "number"),
        ([" -1 ", "+2", ".5", "5."], "number"),
        (["1"] * 19 + ["2"] * 19 + ["many", "few"], "number"),
        (["1"] * 9 + ["many"], "category"),
        (["007", "012", "7"], "category"),
        ([f"{number:05d}" for number in range(200)], "category"),
        (["0", "0.5", "1"], "number"),
        (["red", "blue", "?"], "category"),
        (["a rather long phrase here"] * 5 + ["quite another long phrase"] * 5, "category"),
        (["a rather long phrase here", "quite another long phrase"], "text"),
        ([f"a remark number {i}" for i in range(99)], "text"),
        (["", "NA", "?"], "empty"),
        (["same"] * 3, "empty"),
        ([], "empty"),
    ],
)
def test_what_a_column_holds_is_guessed_from_its_values(values: list[str], kind: str) -> None:
    assert guess_kind(values) == kind


def test_what_a_person_said_wins_over_the_guess() -> None:
    table = pd.DataFrame({"zone": ["1", "2", "3", "1"], "age": ["1", "2", "3", "4"]})
    encoded = encode_table(table, {"zone": "category"})
    assert encoded.kinds == {"zone": "category", "age": "number"}
    assert encoded.values[:, encoded.columns == 0].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert encoded.warnings == ()


def test_what_is_no_number_in_a_number_column_is_missing_and_counted() -> None:
    table = pd.DataFrame({"age": ["1", "old", "3", "NA", "young", "inf"]})
    encoded = encode_table(table, {"age": "number"})
    assert encoded.values[:, -1].tolist() == [0, 1, 0, 1, 1, 1]
    assert [str(warning) for warning in encoded.warnings] == [
        "3 value(s) of the column “age” are not numbers and count as missing there."
    ]


def test_a_category_of_many_values_tells_the_commonest_apart_only() -> None:
    codes = [f"{number:04d}" for number in range(300)] + ["0299"] * 5
    encoded = encode_table(pd.DataFrame({"code": codes}))
    assert encoded.kinds == {"code": "category"}
    assert encoded.values.shape[1] == MOST_CATEGORIES + 1
    assert encoded.values[299:].sum(axis=1).tolist() == [1] * 6


def test_missing_numbers_leave_no_gap_and_are_marked() -> None:
    encoded = encode_table(pd.DataFrame({"age": ["1", "", "3", "NA", "5"]}))
    assert np.isfinite(encoded.values).all()
    assert encoded.values[:, -1].tolist() == [0, 1, 0, 1, 0]


def test_each_dimension_knows_its_column() -> None:
    table = pd.DataFrame({"n": ["1", "2", "3"], "c": ["a", "b", "a"]})
    encoded = encode_table(table)
    assert encoded.values.shape == (3, len(encoded.columns))
    assert set(encoded.columns.tolist()) == {0, 1}


def test_common_words_of_a_text_column_become_indicators() -> None:
    names = [f"{title} person{i}" for i, title in enumerate(["Mr", "Mrs"] * 60)]
    encoded = encode_table(pd.DataFrame({"name": names}))
    is_mr = np.arange(120) % 2 == 0
    assert any((column == is_mr).all() for column in encoded.values.T)


def test_the_order_of_rows_permutes_the_encoding_only() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"n": rng.normal(size=80).astype(str), "c": rng.choice(["a", "b", ""], 80)})
    order = rng.permutation(80)
    shuffled = encode_table(table.iloc[order].reset_index(drop=True))
    assert shuffled.values == pytest.approx(encode_table(table).values[order], abs=1e-6)


def test_a_table_of_nothing_still_has_a_dimension() -> None:
    assert encode_table(pd.DataFrame({"empty": ["", ""]})).values.shape == (2, 1)
