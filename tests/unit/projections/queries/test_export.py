from __future__ import annotations

import pytest

from projections.queries.export import formula_safe


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd", "-2", "@SUM(A1)", "\tx", "\rx", "\nx", "\uff1d1", "+1 202 555"]
)
def test_what_a_spreadsheet_takes_for_a_formula_gets_an_apostrophe(text):
    assert formula_safe(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "+12025550105", "1-2", "'=1"])
def test_any_other_text_stays(text):
    assert formula_safe(text) == text
