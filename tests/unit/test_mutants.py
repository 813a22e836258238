"""The mutants: each kind of change is made where it should be, and what is kept of them fits."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.__main__ import drawn_mutations, equivalents, named_mutations
from tests.mutants.areas import AREAS
from tests.mutants.mutations import mutations_of
from tests.mutants.runner import area_of
from tests.paths import ROOT


def changed(source):
    return {
        mutation.applied(source.encode()).decode()
        for mutation in mutations_of("m.py", source.encode())
    }


@pytest.mark.parametrize(
    ("source", "mutants"),
    [
        ("x = a < b", {"x = a <= b"}),
        ("x = a is not b", {"x = a is b"}),
        ("ü = a and b", {"ü = a or b", "ü = b", "ü = a"}),
        ("x = ~a & b", {"x = ~a | b", "x = b", "x = ~a", "x = (a) & b"}),
        ("if a:\n    b()", {"if not (a):\n    b()", "if a:\n    pass"}),
        ("f(a, b)", {"f(b, a)", "pass"}),
        ("x = 1", {"x = 2"}),
        ("x = not a", {"x = (a)"}),
        ("q.add(a, b)", {"q.add(b, a)", "q.add(b)", "q.add(a)", "pass"}),
        (
            "x = f'WHERE a >= {b} AND c'",
            {"x = f'WHERE a > {b} AND c'", "x = f'WHERE a >= {b} OR c'"},
        ),
        ("x = 'a >= b'", set()),
        ('"""Text: 1 < 2 WHERE a AND b."""', set()),
        ("log.info('x', n=1)", set()),
        ("x: Final = 500", set()),
        ("x: Final[Sequence[int]] = (1,)", {"x: Final[Sequence[int]] = (2,)"}),
    ],
)
def test_a_change_is_of_one_place_and_gives_a_module_again(source, mutants):
    assert changed(source) == mutants
    for mutant in mutants:
        ast.parse(mutant)


def test_the_same_mutants_are_drawn_for_a_seed_and_each_area_has_its_share():
    drawn = drawn_mutations(80, 3, "")
    assert drawn == drawn_mutations(80, 3, "")
    assert drawn != drawn_mutations(80, 4, "")
    assert len(set(drawn)) == 80
    areas = [area_of(mutation.path) for mutation in drawn]
    assert {areas.count(area) for area in AREAS if not area.only_named} == {10}


def test_every_mutant_that_is_kept_by_name_is_another_program():
    mutants = named_mutations()
    assert len({mutation.change for mutation in mutants}) == len(mutants)
    for mutation in mutants:
        source = (ROOT / mutation.path).read_bytes()
        changed = mutation.applied(source)
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source)), mutation.change


def test_every_mutant_that_is_excused_is_one_that_would_be_drawn():
    for path, code, change in equivalents():
        mutants = mutations_of(path, (ROOT / path).read_bytes())
        assert (code, change) in {(each.code, each.change) for each in mutants}, (
            path,
            code,
            change,
        )


def test_the_tests_of_every_area_are_there():
    for area in AREAS:
        assert all((ROOT / path).exists() for path in (*area.quick, *area.thorough))
        assert all(list(Path(ROOT).glob(pattern)) for pattern in area.sources)
