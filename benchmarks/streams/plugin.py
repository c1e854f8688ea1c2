"""The baseline of fan_out.py: Litestar's ChannelsPlugin over Redis pub/sub, without numbers or resume."""

import os

import uvicorn
from litestar import Litestar
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.redis import RedisChannelsPubSubBackend
from redis.asyncio import Redis

CHANNEL = "hot"


def main() -> None:
    """Serve `/ws/hot` on $PORT of loopback, fed by the Redis at $REDIS."""
    backend = RedisChannelsPubSubBackend(redis=Redis.from_url(os.environ["REDIS"]))
    plugin = ChannelsPlugin(
        backend, channels=[CHANNEL], create_ws_route_handlers=True, ws_handler_base_path="/ws"
    )
    app = Litestar(plugins=[plugin], openapi_config=None)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="error",
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
