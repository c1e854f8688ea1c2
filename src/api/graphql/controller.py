"""POST /graphql: answers queries within limits. There are no mutations, subscriptions or batches."""

from typing import Annotated, Any

import msgspec
from cross_web import HTTPException as RefusedError
from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.status_codes import HTTP_200_OK
from msgspec import UNSET, Meta, Struct, UnsetType
from strawberry import Schema
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.types import ExecutionResult

from headrace.api.dependencies import Services
from headrace.api.errors import MalformedError
from headrace.api.graphql.errors import format_error
from headrace.api.graphql.loaders import Loaders
from headrace.api.graphql.objects import GraphContext
from headrace.api.graphql.strawberry_internals import post_controller
from headrace.api.graphql.transaction import ReadTransaction
from headrace.api.middleware.request_bodies import QUERY_BODY
from headrace.domain.accounts.caller import CurrentUser
from headrace.domain.accounts.scopes import Scope


class GraphQuery(Struct, forbid_unknown_fields=True, rename="camel"):
    """The body of POST /graphql. *extensions* are accepted and ignored."""

    query: Annotated[str, Meta(min_length=1, max_length=100_000)]
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None


class GraphFault(Struct):
    """One error of a query. *extensions* contain a stable `code`."""

    message: str
    extensions: dict[str, Any]
    locations: list[dict[str, int]] | UnsetType = UNSET
    path: list[str | int] | UnsetType = UNSET


class GraphAnswer(Struct):
    """The result of a query. *data* is null if *errors* left nothing of it.

    *extensions* have `searchedBackTo` if a search looked only at the jobs created since then, and
    `didYouMean` if a pipeline does not exist and another has a similar name.
    """

    data: dict[str, Any] | None
    errors: list[GraphFault] | UnsetType = UNSET
    extensions: dict[str, Any] | UnsetType = UNSET


def graph_controller(schema: Schema) -> type[Controller]:
    """Return the controller of /graphql for *schema*."""
    base = post_controller(schema)

    class GraphController(base):  # type: ignore[misc, valid-type]
        tags = ("graphql",)

        # Strawberry's own handler keeps the response on the controller, where concurrent requests overwrite
        # it, and answers malformed bodies with plain text.
        @post(
            status_code=HTTP_200_OK,
            operation_id="queryGraph",
            summary="QueryGraph",
            scope=Scope.JOBS_READ,
            max_body=QUERY_BODY,
        )
        async def handle_http_post(
            self,
            request: Request[Any, Any, Any],
            data: JSONBody[GraphQuery],
            current_user: NamedDependency[CurrentUser],
            services: NamedDependency[Services],
        ) -> Response[GraphAnswer]:
            """Answer a query. Its errors are in `errors`, with status 200."""
            reads = ReadTransaction(services.read_sessions, current_user.reach)
            context = GraphContext(current_user, Loaders(reads), services.search)
            response: Response[Any] = Response({})
            query = GraphQLRequestData(data.query, data.variables, data.operation_name, data.extensions)
            # PostgreSQL would end the transactions of many queries whose Python code waits for each other.
            async with services.graphql_turns.hold():
                try:
                    # Parsing, validation and execution are Python code that can take more than 100 ms.
                    result = await services.heavy_work.run_coroutine_in_thread(
                        self.execute_single(
                            request, self.request_adapter_class(request), response, context, None, query
                        )
                    )
                except RefusedError as error:
                    raise MalformedError(
                        "there is no such operation in the query, or it is not a query"
                    ) from error
                finally:
                    await reads.end()
            processed = await self.process_result(request, result)
            noted = {"searchedBackTo": context.searched_back_to, "didYouMean": context.did_you_mean}
            if any(noted.values()):
                processed["extensions"] = {name: value for name, value in noted.items() if value}
            answer: Response[GraphAnswer] = self.create_response(processed, response)
            return answer

        async def process_result(self, request: Any, result: ExecutionResult) -> GraphQLHTTPResponse:  # noqa: ARG002
            answer = GraphQLHTTPResponse(data=result.data)
            if result.errors:
                answer["errors"] = [format_error(error) for error in result.errors]
            return answer

        def encode_json(self, data: object) -> bytes:
            return msgspec.json.encode(data)

    return GraphController
