"""Builds the HTTP application: its routes, dependencies and middleware. `lifespan.py` builds its services."""

import secrets
from collections.abc import Callable
from functools import partial

import structlog
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException

from headrace.adapters.metrics.api_metrics import ApiMetrics
from headrace.adapters.metrics.loop_lag import LoopLag
from headrace.adapters.metrics.scrapes import Scrapes
from headrace.adapters.tracing.tracing import Tracing, load_tracing
from headrace.api import problems
from headrace.api.accounts.api_keys import ApiKeyController
from headrace.api.accounts.controller import UserController, list_audit, show_me
from headrace.api.accounts.job_tokens import JobTokenController
from headrace.api.auth.local_mode import LocalHosts
from headrace.api.auth.origins import Origins, cross_origin
from headrace.api.auth.proxies import Proxies
from headrace.api.auth.tokens import Tokens
from headrace.api.contract.routes import OPENAPI, contract_routes
from headrace.api.dependencies import (
    provide_after_commit,
    provide_api_keys,
    provide_audit_log,
    provide_audit_note,
    provide_files,
    provide_jobs,
    provide_pipelines,
    provide_presets,
    provide_services,
    provide_session,
    provide_tags,
    provide_user,
    provide_users,
)
from headrace.api.files.controller import FileController
from headrace.api.graphql.routes import graph_routes
from headrace.api.health import HealthController
from headrace.api.jobs.controller import JobController
from headrace.api.jobs.parts import JobPartsController
from headrace.api.login.controller import LoginController
from headrace.api.metrics import show_metrics
from headrace.api.middleware.access import Admission, check_routes
from headrace.api.middleware.query_names import register_query_parameters
from headrace.api.middleware.request_bodies import BodyRequest
from headrace.api.middleware.request_checks import check_request
from headrace.api.middleware.response_bodies import ResponseBodiesMiddleware
from headrace.api.middleware.response_headers import ResponseHeadersMiddleware
from headrace.api.numbers import NumbersController
from headrace.api.path_prefix import PathPrefixes
from headrace.api.pipelines import PipelineController
from headrace.api.presets.controller import PresetController
from headrace.api.retention import show_retention
from headrace.api.streams.job_socket import stream_job
from headrace.api.streams.overview_socket import stream_jobs
from headrace.api.streams.sse import stream_job_events
from headrace.api.tags import TagController
from headrace.api.tones import ToneController
from headrace.lifespan import run_services
from headrace.settings import SAMPLE_SECRET, Settings, read_settings

_log = structlog.get_logger(__name__)


def create_app(
    settings: Settings | None = None,
    on_broken: Callable[[], None] | None = None,
    tracing: Tracing | None = None,
) -> Litestar:
    """Return the application, which connects to its servers when it starts.

    *on_broken* is called when a background loop ends by an error: the process must then be replaced.
    *tracing* replaces that of the settings.

    Raises:
        SettingsError: a setting is invalid or missing.
        TracingNotInstalledError: the settings ask for traces, and OpenTelemetry is missing.
    """
    settings = settings or read_settings()
    settings.require("database_url")
    api = Router(
        "/api/v1",
        route_handlers=[
            JobController,
            JobPartsController,
            FileController,
            PipelineController,
            JobTokenController,
            ApiKeyController,
            UserController,
            show_me,
            list_audit,
            ToneController,
            PresetController,
            TagController,
            show_retention,
            NumbersController,
            stream_job,
            stream_job_events,
            stream_jobs,
        ],
    )
    tokens = Tokens(_signing_key(settings), settings.job_token_key)
    metrics = ApiMetrics(LoopLag(), Scrapes())
    tracing = tracing or load_tracing(settings.traces, "headrace-api")
    app = Litestar(
        route_handlers=[
            api,
            HealthController,
            show_metrics,
            LoginController,
            *contract_routes(),
            *graph_routes(settings),
        ],
        dependencies={
            "services": Provide(provide_services),
            # Not names of body fields: Litestar answers 500 if a field with a dependency's name is invalid.
            "current_user": Provide(provide_user),
            "after_commit": Provide(provide_after_commit),
            "db_session": Provide(provide_session),
            "job_service": Provide(provide_jobs),
            "file_service": Provide(provide_files),
            "pipeline_service": Provide(provide_pipelines),
            "user_service": Provide(provide_users),
            "key_service": Provide(provide_api_keys),
            "audit_service": Provide(provide_audit_log),
            "audit_note": Provide(provide_audit_note),
            "preset_service": Provide(provide_presets),
            "tag_service": Provide(provide_tags),
        },
        exception_handlers={Exception: problems.handle, HTTPException: problems.handle},
        before_request=check_request,
        request_class=BodyRequest,
        middleware=[Admission(Origins(settings, tokens), LocalHosts(settings))],
        cors_config=cross_origin(settings),
        lifespan=[
            partial(
                run_services,
                settings=settings,
                tokens=tokens,
                metrics=metrics,
                tracing=tracing,
                on_broken=on_broken,
            )
        ],
        openapi_config=OPENAPI,
        # `BodyRequest` limits each route.
        request_max_body_size=None,
        logging_config=None,
        debug=False,
    )
    check_routes(app.routes)
    register_query_parameters(app.routes)
    # Litestar calls middleware only for known paths; this one wraps the whole application.
    proxies = Proxies(settings)
    app.asgi_handler = ResponseHeadersMiddleware(
        ResponseBodiesMiddleware(app.asgi_handler),
        proxies,
        PathPrefixes(settings.path_prefix, proxies, (route.path for route in app.routes)),
        on_response=metrics.on_response,
        is_production=settings.env == "production",
        differs_by_origin=bool(settings.cors_origins),
    )
    return app


def _signing_key(settings: Settings) -> str:
    """Return the key that tokens are signed with. It is never the published sample, except in local mode."""
    if settings.auth == "local" or settings.secret_key != SAMPLE_SECRET:
        return settings.secret_key
    _log.warning("sample_secret_key", warning="job tokens of this process count nowhere else")
    return secrets.token_hex(32)
