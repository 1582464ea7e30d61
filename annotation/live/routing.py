from __future__ import annotations

from django.urls import path

from annotation.live.consumers import StageConsumer

websocket_urlpatterns = [path("ws/stages/<int:stage_id>/", StageConsumer.as_asgi())]
