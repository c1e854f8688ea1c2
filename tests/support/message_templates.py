"""Finds the messages that source code builds, without running it: texts with blanks for their variables."""

import ast
import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import headrace

SOURCE: Final = Path(headrace.__file__).resolve().parent
BLANK: Final = "<>"
"""Stands in a template for a part that is known only when the code runs."""

Parts = Mapping[str, list[str]]


class Call:
    """A call in the source: its arguments as templates. *place* is for failure messages."""

    def __init__(self, node: ast.Call, module: "Module", function: ast.AST | None) -> None:
        self._node = node
        self._module = module
        self._function = function
        self.place = f"{module.path.relative_to(SOURCE)}:{node.lineno}"

    def argument(self, position: int, name: str) -> ast.expr | None:
        """Return an argument by its position or its name; None if it is left out."""
        for keyword in self._node.keywords:
            if keyword.arg == name:
                return keyword.value
        positional = self._node.args[: position + 1]
        if len(positional) <= position or any(isinstance(node, ast.Starred) for node in positional):
            return None
        return positional[position]

    def source(self, position: int, name: str) -> str:
        """Return an argument as it stands in the source."""
        node = self.argument(position, name)
        return "" if node is None else ast.unparse(node)

    def texts(self, position: int, name: str) -> list[str]:
        """Return the templates that an argument may be; a blank if nothing is known of it."""
        node = self.argument(position, name)
        return [] if node is None else self._module.texts(node, self._function)

    def arguments(self, names: list[str]) -> Parts:
        """Return the templates of all arguments, by the names of the parameters."""
        return {name: self.texts(position, name) or [BLANK] for position, name in enumerate(names)}


class Module:
    """The syntax tree of a source file, and the values of its constants."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text())
        relative = path.relative_to(SOURCE).with_suffix("").parts
        self.name = ".".join(["headrace", *(part for part in relative if part != "__init__")])
        self._followed: list[ast.AST] = []
        self._calls: dict[str, list[tuple[ast.AST | None, ast.Call]]] = {}
        for function, node in _with_functions(self.tree, None):
            if isinstance(node, ast.Call):
                self._calls.setdefault(_name_of(node.func), []).append((function, node))

    def classes(self) -> Iterator[ast.ClassDef]:
        """Yield the classes at the top level."""
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef):
                yield node

    def calls(self, name: str) -> Iterator[Call]:
        """Yield each call of the function or class *name*."""
        for function, node in self._calls.get(name, ()):
            yield Call(node, self, function)

    def texts(self, node: ast.expr, function: ast.AST | None, parts: Parts | None = None) -> list[str]:
        """Return the templates of an expression, more than one if it depends on a condition.

        *parts* are the values of the parameters that occur in it.
        """
        texts = [BLANK]
        match node:
            case ast.Constant(value=str(text)):
                texts = [text]
            case ast.IfExp():
                texts = [*self.texts(node.body, function, parts), *self.texts(node.orelse, function, parts)]
            case ast.BoolOp():
                texts = [text for value in node.values for text in self.texts(value, function, parts)]
            case ast.JoinedStr():
                texts = self._joined(node, parts)
            case ast.Name(id=name):
                texts = self._named(name, function, parts)
            case ast.Call(func=ast.Name(id=name)):
                texts = self.returned_by(name) or texts
        return texts

    def _joined(self, node: ast.JoinedStr, parts: Parts | None) -> list[str]:
        texts = [""]
        for value in node.values:
            if isinstance(value, ast.Constant):
                pieces = [str(value.value)]
            else:
                assert isinstance(value, ast.FormattedValue)
                name = value.value.id if isinstance(value.value, ast.Name) else ""
                constant = self._constant(name)
                pieces = [constant] if constant is not None else (parts or {}).get(name, [BLANK])
            texts = [text + piece for text in texts for piece in pieces]
        return [_with_single_blanks(text) for text in texts]

    def _named(self, name: str, function: ast.AST | None, parts: Parts | None) -> list[str]:
        if parts and name in parts:
            return parts[name]
        if (constant := self._constant(name)) is not None:
            return [constant]
        assigned = [
            text
            for node in (ast.walk(function) if function is not None else ())
            if isinstance(node, ast.Assign)
            for value in _assigned(name, node)
            for text in self.texts(value, None, parts)
        ]
        return assigned or self._passed(name, function) or [BLANK]

    def _passed(self, name: str, function: ast.AST | None) -> list[str]:
        """Return what this module passes for the parameter *name* of *function*."""
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            return []
        names = [argument.arg for argument in function.args.args]
        if name not in names or function in self._followed:
            return []
        self._followed.append(function)
        texts = [text for call in self.calls(function.name) for text in call.texts(names.index(name), name)]
        self._followed.pop()
        return texts

    def returned_by(self, name: str) -> list[str]:
        """Return what the function *name* of this module may return, as far as it is known."""
        return [
            text
            for function in self.tree.body
            if isinstance(function, ast.FunctionDef) and function.name == name
            for node in ast.walk(function)
            if isinstance(node, ast.Return) and node.value is not None
            for text in self.texts(node.value, function)
            if text != BLANK
        ]

    def _constant(self, name: str) -> str | None:
        value = getattr(importlib.import_module(self.name), name, None) if name else None
        return str(value) if isinstance(value, str | int | float) else None


@cache
def modules() -> tuple[Module, ...]:
    """Return all modules of the package."""
    paths = sorted(path for path in SOURCE.rglob("*.py") if "vendor" not in path.parts)
    return tuple(Module(path) for path in paths)


def messages_of(error: str) -> dict[str, str]:
    """Return the messages that the error class *error* is raised with, and where."""
    ((module, kind),) = [
        (module, kind) for module in modules() for kind in module.classes() if kind.name == error
    ]
    initialiser = next(
        (node for node in kind.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"), None
    )
    found: dict[str, str] = {}
    calls = [call for other in modules() for call in other.calls(error)]
    if initialiser is None:
        for call in calls:
            found |= dict.fromkeys(call.texts(0, "message"), call.place)
        return found
    names = [argument.arg for argument in (*initialiser.args.args[1:], *initialiser.args.kwonlyargs)]
    message = _message_of(initialiser)
    if not names:
        return dict.fromkeys(module.texts(message, initialiser), module.name)
    for call in calls:
        texts = module.texts(message, initialiser, call.arguments(names))
        found |= dict.fromkeys(texts, call.place)
    return found


def _message_of(initialiser: ast.FunctionDef) -> ast.expr:
    """Return what an initialiser hands to `Exception`."""
    (call,) = [
        node
        for node in ast.walk(initialiser)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "__init__"
    ]
    return call.args[0]


def _assigned(name: str, node: ast.Assign) -> Iterator[ast.expr]:
    """Yield the value that an assignment gives to *name*, if it does."""
    for target in node.targets:
        if isinstance(target, ast.Name) and target.id == name:
            yield node.value
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for element, value in zip(target.elts, node.value.elts, strict=False):
                if isinstance(element, ast.Name) and element.id == name:
                    yield value


def _with_functions(node: ast.AST, function: ast.AST | None) -> Iterator[tuple[ast.AST | None, ast.AST]]:
    """Yield each node below *node* with the function that it stands in."""
    for child in ast.iter_child_nodes(node):
        inner = child if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        yield inner, child
        yield from _with_functions(child, inner)


def _name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _with_single_blanks(text: str) -> str:
    while BLANK * 2 in text:
        text = text.replace(BLANK * 2, BLANK)
    return text
