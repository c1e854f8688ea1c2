"""The protocols use private parts of uvicorn: each of them must exist."""

import ast
import asyncio
import inspect
import textwrap
from importlib.metadata import version
from typing import Final

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from headrace.api.server.http_protocol import HttpProtocol
from headrace.api.server.intake import Intake
from headrace.api.server.receive_timeout import ReceiveTimeout
from headrace.api.server.websocket_protocol import WebSocketProtocol
from headrace.api.server.write_timeout import WriteTimeout

TESTED: Final = "0.54"
MIXINS: Final = (WriteTimeout, Intake, ReceiveTimeout)
# Names that the classes define themselves. All their other public names are uvicorn's.
OWN: Final = {"close_waiting", "start_reading", "turns", "write_messages"} | (
    (vars(Intake).keys() | vars(ReceiveTimeout).keys() | vars(WriteTimeout).keys())
    - vars(asyncio.Protocol).keys()
    - vars(asyncio.BaseProtocol).keys()
)
USED: Final = [(HttpProtocol, HttpToolsProtocol), (WebSocketProtocol, WebSocketsSansIOProtocol)]


def names_used_by(*classes: type) -> set[str]:
    """Return the methods that *classes* override and the attributes of `self` and `super()` they use."""
    names: set[str] = set()
    for node in nodes_of(*classes):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "super()"):
            names.add(node.attr)
    return {name for name in names if not name.startswith("_")} - OWN


def names_defined_by(protocol: type) -> set[str]:
    """Return the methods of *protocol* and the attributes that it sets on itself."""
    stored = {
        node.attr
        for node in nodes_of(protocol)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and ast.unparse(node.value) == "self"
    }
    return stored | (
        vars(protocol).keys() | vars(asyncio.Protocol).keys() | vars(asyncio.BaseProtocol).keys()
    )


def nodes_of(*classes: type) -> list[ast.AST]:
    return [
        node for each in classes for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(each))))
    ]


@pytest.mark.parametrize(
    ("base", "name"),
    [(base, name) for ours, base in USED for name in sorted(names_used_by(ours, *MIXINS))],
)
def test_uvicorn_has_each_part_that_a_protocol_uses(base: type, name: str) -> None:
    installed = version("uvicorn")

    assert name in names_defined_by(base), (
        f"uvicorn {installed} has no {base.__name__}.{name}; the protocols were tested with {TESTED}"
    )


def test_the_installed_version_is_the_tested_one() -> None:
    installed = version("uvicorn")

    assert installed.rpartition(".")[0] == TESTED, (
        f"uvicorn {installed} is installed; the protocols were tested with {TESTED}: compare the classes in"
        " api/server with their bases, then change TESTED and the pin in pyproject.toml"
    )


def test_a_missing_part_is_detected() -> None:
    class Renamed(asyncio.Protocol):
        """uvicorn's class after its parts were renamed."""

    missing = names_used_by(WebSocketProtocol) - names_defined_by(Renamed)

    assert {"close_sent", "handle_pong", "pending_ping_payload", "writable"} <= missing
