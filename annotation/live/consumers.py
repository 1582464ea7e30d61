"""Push to an open page how far a stage is, or where a project stands: the same partial that the page includes, read anew
from the rows each time."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from importlib import import_module
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import translation

from annotation.jobs.notify import group_of, project_group
from annotation.live.goal_status import goal_bar
from annotation.live.project_work import project_work
from annotation.live.stage_status import stage_context
from annotation.models import Role, Stage

logger = logging.getLogger(__name__)

FORBIDDEN, INTERNAL_ERROR = 4403, 1011
SEND_SECONDS = 1 / 3  # pushes are at least so far apart; notifications in between are one push
POLL_SECONDS = 5.0  # the row is read again after so long without a notification, for one may get lost


class FollowingConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Pushes a partial to members of a project only, asked again before every push.

    The page gets HTML whose root element carries an id; htmx's websocket extension puts it in that element's place.
    """

    _follower: asyncio.Task[None] | None = None

    @property
    def followed(self) -> str:
        """The group whose notifications are followed."""
        raise NotImplementedError

    def render(self, user: User) -> str | None:
        """The partial as it stands now, or None if the user may not see it (any longer)."""
        raise NotImplementedError

    async def connect(self) -> None:
        # Accepted first: a refusal before that reaches the browser as a failure of the network, and it tries for ever.
        await self.accept()
        self._changed = asyncio.Event()
        if await self._read() is None:
            await self.close(FORBIDDEN)
            return
        await self.channel_layer.group_add(self.followed, self.channel_name)
        self._follower = asyncio.create_task(self._follow_or_close())

    async def disconnect(self, code: int) -> None:
        if self._follower:
            self._follower.cancel()
            with suppress(asyncio.CancelledError):
                await self._follower
            await self.channel_layer.group_discard(self.followed, self.channel_name)

    async def stage_changed(self, message: dict[str, Any]) -> None:
        """A notification: the row changed."""
        self._changed.set()

    async def _follow_or_close(self) -> None:
        """Close on an error of the database or the templates, so that the page connects anew and does not look stuck."""
        try:
            await self._follow()
        except Exception:
            logger.exception("%s can't be pushed; the page will connect again.", self.followed)
            await self._shut(INTERNAL_ERROR)

    async def _follow(self) -> None:
        """Push the state now, after notifications, and when the row, read again, has changed."""
        sent = None
        while True:
            self._changed.clear()  # before reading, so that a notification in the meantime counts
            html = await self._read()
            if html is None:
                await self._shut(FORBIDDEN)
                return
            if html != sent and not await self._push(html):
                return
            sent = html
            await asyncio.sleep(SEND_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), POLL_SECONDS)

    async def _push(self, html: str) -> bool:
        """Whether the page was there to take it. Servers raise an OSError (ASGI) when the browser has gone, which is no
        failure: pages are left all the time."""
        try:
            await self.send(text_data=html)
        except OSError:
            logger.debug("The page that followed %s is gone.", self.followed)
            return False
        return True

    async def _shut(self, code: int) -> None:
        with suppress(OSError):  # gone already
            await self.close(code)

    @database_sync_to_async  # type: ignore[untyped-decorator]
    def _read(self) -> str | None:
        request = self._request()
        user = get_user(request)
        if not isinstance(user, User):
            return None
        with translation.override(translation.get_language_from_request(request)):
            return self.render(user)

    def _request(self) -> HttpRequest:
        """The page's request as it would be now: its session is read anew, so that a logout, a new password and a
        disabled account count at once."""
        request = HttpRequest()
        request.COOKIES = self.scope["cookies"]
        request.META["HTTP_ACCEPT_LANGUAGE"] = (
            dict(self.scope["headers"]).get(b"accept-language", b"").decode("latin-1")
        )
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(
            self.scope["session"].session_key
        )
        return request


class StageConsumer(FollowingConsumer):
    """``/ws/stages/<id>/``: how far a stage is."""

    @property
    def followed(self) -> str:
        return group_of(self.scope["url_route"]["kwargs"]["stage_id"])

    def render(self, user: User) -> str | None:
        stages = Stage.objects.select_related("project", "iteration").filter(project__memberships__user=user)
        stage = stages.filter(pk=self.scope["url_route"]["kwargs"]["stage_id"]).first()
        if stage is None:
            return None
        return render_to_string("annotation/jobs/_stage_progress.html", stage_context(stage))


class GoalConsumer(FollowingConsumer):
    """``/ws/projects/<id>/goal/``: what is at work in a project, where it stands, and what comes next."""

    @property
    def followed(self) -> str:
        return project_group(self.scope["url_route"]["kwargs"]["project_id"])

    def render(self, user: User) -> str | None:
        member = user.memberships.select_related("project").filter(
            project=self.scope["url_route"]["kwargs"]["project_id"], project__put_away_at__isnull=True
        )
        membership = member.first()
        if membership is None:
            return None
        project = membership.project
        bar = goal_bar(project, Role(membership.role))
        work = render_to_string("annotation/jobs/_work.html", {"project": project} | project_work(project))
        return work + (render_to_string("annotation/plan/_goal_bar.html", {"bar": bar}) if bar else "")
