"""Docstrings of the public face: complete, with shapes, and with examples that run."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import autobuild as ab
from autobuild import graphs

# Results that the first line can describe: a number, a text, or one object of a public class.
PLAIN = re.compile(
    r"None|int|str|bool|Path|SearchSpace|Architecture|Candidate|Unit|OperationGraph|FittedModel|LabelledSet|Scores"
)
# Arrays, tables and lists of architectures: the docstring must state a shape, such as ``(n,)``, or column names.
SHAPED = re.compile(r"(Float|Int)Array|Rows|ndarray|DataFrame|list\[Architecture|Sequence\[Architecture")
SHAPE = re.compile(r"``\((?:[\w.\s+*-]+|len\([\w.]+\)|,)+\)``|[Cc]olumns? (?:``|of)|``\w+(?:, \S+)+``")
# No section Returns yet: the annotation alone names what they return.


def _public() -> Iterator[tuple[str, Callable[..., Any], bool]]:
    """Name, function or class, and whether it is a property."""
    for name in ab.__all__:
        public = getattr(ab, name)
        yield name, public, False
        for member, own in vars(public).items() if inspect.isclass(public) else ():
            if member.startswith("_"):
                continue
            if isinstance(own, staticmethod | classmethod):
                yield f"{name}.{member}", own.__func__, False
            elif isinstance(own, property) or hasattr(own, "func"):
                yield f"{name}.{member}", own.fget if isinstance(own, property) else own.func, True
            elif inspect.isfunction(own):
                yield f"{name}.{member}", own, False


PUBLIC = {name: (function, attribute) for name, function, attribute in _public()}


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    if inspect.isclass(function) and issubclass(function, Exception):
        return []
    return [p for n, p in inspect.signature(function).parameters.items() if n not in ("self", "cls") and n[0] != "_"]


def _returned(function: Callable[..., Any]) -> str:
    return "None" if inspect.isclass(function) else str(inspect.signature(function).return_annotation)


def _sections(text: str) -> dict[str, str]:
    """Heading -> text of a docstring's sections; the part before the first heading is called ``""``."""
    parts = re.split(r"^(\w+):\n(?=    )", text, flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def _named(section: str) -> set[str]:
    """The entries of a section: ``name: text``, ``*name: text``, or ``name, name: text``."""
    entries = re.findall(r"^    (\*{0,2}\w+(?:, \*{0,2}\w+)*):", section, flags=re.MULTILINE)
    return {name.strip(" *") for entry in entries for name in entry.split(",")}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_parameter_is_described(name):
    function, _ = PUBLIC[name]
    doc = inspect.getdoc(function)
    assert doc, f"{name} has no docstring"
    sections = _sections(doc)
    described = _named(sections.get("Args", "")) | _named(sections.get("Attributes", ""))
    wanted = {parameter.name for parameter in _parameters(function)}
    assert wanted <= described, f"{name}: no line for {sorted(wanted - described)}"
    if not inspect.isclass(function):
        assert described <= wanted, f"{name}: describes {sorted(described - wanted)}, which it does not take"


@pytest.mark.parametrize("name", PUBLIC)
def test_results_are_described(name):
    function, attribute = PUBLIC[name]
    if attribute or not _parameters(function) or PLAIN.fullmatch(_returned(function)):
        return
    assert _sections(inspect.getdoc(function) or "").get("Returns"), f"{name} returns {_returned(function)}, unsaid"


@pytest.mark.parametrize("name", PUBLIC)
def test_arrays_and_tables_have_shapes_or_columns(name):
    function, _ = PUBLIC[name]
    annotations = [str(parameter.annotation) for parameter in _parameters(function)]
    if any(SHAPED.search(text) for text in [*annotations, _returned(function)]):
        assert SHAPE.search(inspect.getdoc(function) or ""), f"{name}: no shape and no columns"


@pytest.mark.parametrize(
    "documented",
    [ab.SearchSpace, ab.Unit, ab.sequence_space, ab.LabelledSet, ab.OperationGraph, ab.FittedModel, ab.Scores],
    ids=lambda documented: documented.__name__,
)
def test_examples_run(documented):
    names = {"ab": ab, "Operation": graphs.Operation}
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(documented), names, documented.__name__, None, None)
    assert test.examples
    failed, _ = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert not failed


def _docstrings() -> Iterator[tuple[Path, str, str]]:
    for file in Path(ab.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                yield file, getattr(node, "name", ""), ast.get_docstring(node) or ""


def test_formulas_reach_the_reader_unchanged():
    """Docstrings with formulas are raw strings, in which each backslash is written once."""
    formulas = [(file.name, name, doc) for file, name, doc in _docstrings() if ":math:" in doc or ".. math::" in doc]
    assert len(formulas) >= 4
    for file, name, doc in formulas:
        assert "\\\\" not in doc, f"{file}: {name}: doubled backslashes are line breaks in TeX"
        assert not re.search(r"[\x00-\x08\x0b-\x1f]", doc), f"{file}: {name}: an escape that is no formula"
