from __future__ import annotations

from django.urls import path

from annotation.live.consumers import GoalConsumer, StageConsumer

websocket_urlpatterns = [
    path("ws/stages/<int:stage_id>/", StageConsumer.as_asgi()),
    path("ws/projects/<int:project_id>/goal/", GoalConsumer.as_asgi()),
]
