from __future__ import annotations

import numpy as np
import pandas as pd

from mlcore.tables import column_kind, encode_table


def test_columns_are_told_apart_by_what_they_hold() -> None:
    assert column_kind(pd.Series(["1", "2.5", "", "1e3"])) == "numeric"
    assert column_kind(pd.Series(["red", "blue", "?"])) == "category"
    assert column_kind(pd.Series([f"a remark number {i}" for i in range(99)])) == "text"
    assert column_kind(pd.Series(["", "NA", "?"])) == "empty"


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
    np.testing.assert_allclose(encode_table(table).values[order], shuffled.values, atol=1e-6)


def test_a_table_of_nothing_still_has_a_dimension() -> None:
    assert encode_table(pd.DataFrame({"empty": ["", ""]})).values.shape == (2, 1)
