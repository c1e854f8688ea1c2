"""Builds the SQLAlchemy engine for the REST API."""

from urllib.parse import urlsplit, urlunsplit

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from headrace.adapters.database import COMMAND_SECONDS, CONNECT_SECONDS, SESSION


def sqlalchemy_url(url: str) -> str:
    """Return the URL of the same database for SQLAlchemy's asyncpg dialect."""
    return urlunsplit(urlsplit(url)._replace(scheme="postgresql+asyncpg"))


def build_engine(url: str) -> AsyncEngine:
    return create_async_engine(
        sqlalchemy_url(url),
        pool_size=16,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        pool_recycle=1800,
        # A logged error must not contain the values of a request.
        hide_parameters=True,
        connect_args={
            "server_settings": SESSION,
            "timeout": CONNECT_SECONDS,
            "command_timeout": COMMAND_SECONDS,
        },
    )
