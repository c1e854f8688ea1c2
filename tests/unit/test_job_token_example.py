"""The documented example of a backend that signs job tokens itself works."""

from typing import Any
from uuid import UUID

from headrace.api.auth.tokens import Tokens
from support.doc_blocks import texts

KEY = "shared with a backend"
JOB = "01a1ff51-6003-7274-a0cb-ac22f3cf0e76"


def test_the_service_accepts_the_documented_token() -> None:
    (code,) = texts("docs/authentication.md", "python")
    scope: dict[str, Any] = {}
    exec(code, scope)  # noqa: S102

    token = Tokens("the service's own", KEY).read_job(scope["job_token"](JOB, KEY))

    assert (token.job_id, token.right) == (UUID(JOB), "read")
