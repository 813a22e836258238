"""Small changes of a module that a test should notice: one operator, constant or statement each."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

_COMPARISONS = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==",
    "is not": "is", "is": "is not", "not in": "in", "in": "not in",
}  # fmt: skip
_WORDS = {"and": "or", "or": "and", "&": "|", "|": "&", "+": "-", "-": "+"}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "earliest": "last",
          "latest": "earliest", "last": "earliest"}  # fmt: skip
#: In texts that are SQL: what is written there, and what it becomes.
_SQL = re.compile(r"\b(SELECT|WHERE|HAVING|ORDER BY|GROUP BY|LIMIT|IN|AND)\b")
_SQL_CHANGES = [
    (r" >= ", " > "), (r" <= ", " < "), (r" > ", " >= "), (r" < ", " <= "), (r" AND ", " OR "),
    (r" DESC\b", " ASC"), (r" ASC\b", " DESC"), (r"\bDISTINCT ", ""), (r" FINAL\b", ""),
    (r"\bmin\(", "max("), (r"\bmax\(", "min("), (r" NOT IN ", " IN "), (r" IN ", " NOT IN "),
    (r"(?<=AND )\w+ = (\{[^{}]*\}|[^\s{}]+)(?= )", "true"),
]  # fmt: skip
#: What is said to people and metrics; other tests are about that, where it matters.
_QUIET_CALLS = re.compile(r"(log|metrics|console)\.|super\(\)")
#: Options that say what holds anyway.
_INVARIANTS = {"strict", "slots", "frozen", "kw_only", "exist_ok", "description", "summary"}
_DECLARATIONS = ("TypeVar", "Final", "Literal")


@dataclass(frozen=True, order=True)
class Mutation:
    """A change of one place: the bytes from `start` to `end` of a file become `text`."""

    path: str
    start: int
    end: int
    text: str
    line: int
    code: str  # the line, stripped: what an equivalent mutation is known by
    change: str

    def applied(self, source):
        """Return the changed source."""
        return source[: self.start] + self.text.encode() + source[self.end :]


def mutations_of(path, source):
    """Return every mutation of a module, in order; of a source in bytes."""
    finder = _Finder(path, source)
    finder.visit(ast.parse(source))
    return sorted(set(finder.found))


class _Finder(ast.NodeVisitor):
    def __init__(self, path, source):
        self.path, self.source, self.found = path, source, []
        self.lines = source.split(b"\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)

    def add(self, start, end, text, change=None):
        line = next(n for n, begin in enumerate(self.starts, 1) if begin > start) - 1
        old = self.source[start:end].decode()
        code = self.lines[line - 1].decode().strip()
        change = change or f"{' '.join(old.split())} → {text}"
        self.found.append(Mutation(self.path, start, end, text, line, code, change))

    def span(self, node):
        return (
            self.starts[node.lineno - 1] + node.col_offset,
            self.starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def text(self, node):
        start, end = self.span(node)
        return self.source[start:end].decode()

    def between(self, left, right, pattern, changes):
        """Change the operator between two operands."""
        start, end = self.span(left)[1], self.span(right)[0]
        if match := re.search(pattern, self.source[start:end].decode()):
            place = start + len(self.source[start:end].decode()[: match.start()].encode())
            self.add(place, place + len(match[0].encode()), changes[" ".join(match[0].split())])

    # ---- conditions ---------------------------------------------------------------------------

    def visit_Compare(self, node):
        for left, right in zip([node.left, *node.comparators], node.comparators, strict=False):
            self.between(left, right, r"<=|>=|==|!=|<|>|is\s+not|is|not\s+in|in", _COMPARISONS)
        self.generic_visit(node)

    def visit_BoolOp(self, node):
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between(left, right, r"\b(and|or)\b", _WORDS)
        self.without_each(node.values)
        self.generic_visit(node)

    def visit_BinOp(self, node):
        if isinstance(node.op, ast.BitAnd | ast.BitOr | ast.Add | ast.Sub):
            self.between(node.left, node.right, r"[&|+-]", _WORDS)
        if isinstance(node.op, ast.BitAnd | ast.BitOr):
            self.without_each([node.left, node.right])
        self.generic_visit(node)

    def visit_UnaryOp(self, node):
        if isinstance(node.op, ast.Not | ast.Invert):
            operand = self.text(node.operand)
            self.add(*self.span(node), f"({operand})", f"{operand} not negated")
        self.generic_visit(node)

    def visit_If(self, node):
        if "TYPE_CHECKING" not in (test := self.text(node.test)):
            self.add(*self.span(node.test), f"not ({test})")
            self.generic_visit(node)

    def visit_IfExp(self, node):
        self.add(*self.span(node.test), f"(not ({self.text(node.test)}))")
        self.generic_visit(node)

    def without_each(self, parts):
        """Drop one of several conditions or items at a time."""
        for place, part in enumerate(parts):
            if place + 1 < len(parts):
                start, end = self.span(part)[0], self.span(parts[place + 1])[0]
            else:
                start, end = self.span(parts[place - 1])[1], self.span(part)[1]
            old = " ".join(self.text(part).split())
            # Brackets around an operand are not of its node.
            if (cut := self.source[start:end].decode()).count("(") == cut.count(")"):
                self.add(start, end, "", f"without {old}")

    # ---- values -------------------------------------------------------------------------------

    def visit_Constant(self, node):
        if isinstance(node.value, bool):
            self.add(*self.span(node), str(not node.value))
        elif isinstance(node.value, int):
            self.add(*self.span(node), str(node.value + 1))
        elif isinstance(node.value, str) and _SQL.search(node.value):
            self.sql(*self.span(node))

    def visit_JoinedStr(self, node):
        if any(isinstance(part, ast.Constant) and _SQL.search(part.value) for part in node.values):
            self.sql(*self.span(node))
        self.generic_visit(node)

    def sql(self, start, end):
        text = self.source[start:end].decode()
        for pattern, new in _SQL_CHANGES:
            for match in re.finditer(pattern, text):
                place = start + len(text[: match.start()].encode())
                self.add(place, place + len(match[0].encode()), new)

    def visit_Name(self, node):
        if isinstance(node.ctx, ast.Load) and node.id in _NAMES:
            self.add(*self.span(node), _NAMES[node.id])

    def visit_Call(self, node):
        if _QUIET_CALLS.match(self.text(node)):
            return
        if len(node.args) > 1 and not any(isinstance(a, ast.Starred) for a in node.args[:2]):
            first, second = node.args[:2]
            texts = self.text(first), self.text(second)
            if texts[0] != texts[1]:
                gap = self.source[self.span(first)[1] : self.span(second)[0]].decode()
                swapped = texts[1] + gap + texts[0]
                self.add(self.span(first)[0], self.span(second)[1], swapped, "first two swapped")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "add" and len(node.args) > 1:
            self.without_each(node.args)
        self.generic_visit(node)

    def visit_List(self, node):
        if isinstance(node.ctx, ast.Load) and len(node.elts) > 1:
            self.without_each(node.elts)
        self.generic_visit(node)

    # ---- statements ---------------------------------------------------------------------------

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Constant) or _QUIET_CALLS.match(self.text(node)):
            return
        if not isinstance(node.value, ast.Yield | ast.YieldFrom):
            self.add(*self.span(node), "pass", f"without {self.text(node)[:60]}")
        self.generic_visit(node)

    def visit_Raise(self, node):
        self.add(*self.span(node), "pass", f"without {self.text(node)[:60]}")

    def visit_AugAssign(self, node):
        self.add(*self.span(node), "pass", f"without {self.text(node)[:60]}")
        self.generic_visit(node)

    def visit_Continue(self, node):
        self.add(*self.span(node), "pass", "without continue")

    # ---- what nothing runs, or what is an invariant already ------------------------------------

    def visit_Assert(self, node):
        pass

    def visit_ClassDef(self, node):
        for statement in node.body:
            self.visit(statement)

    def visit_keyword(self, node):
        if node.arg not in _INVARIANTS:
            self.generic_visit(node)

    def visit_AnnAssign(self, node):
        is_limit = node.col_offset == 0 and isinstance(node.value, ast.Constant)
        if (
            node.value is not None and not is_limit
        ):  # one more of a limit of many is nobody's matter
            self.visit(node.value)

    def visit_FunctionDef(self, node):
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        for statement in node.body:
            self.visit(statement)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - ast's name

    def visit_Subscript(self, node):
        if not self.text(node).startswith(_DECLARATIONS):
            self.generic_visit(node)
