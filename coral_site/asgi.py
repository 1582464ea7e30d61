"""The web process: pages over HTTP, progress over websockets."""

from __future__ import annotations

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coral_site.settings")
pages = get_asgi_application()  # sets Django up; what follows needs it

from annotation.live.routing import websocket_urlpatterns  # noqa: E402
from coral_site.body_limit import BodyLimit  # noqa: E402
from coral_site.slow_refusals import SlowRefusals  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": SlowRefusals(BodyLimit(pages)),
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)
