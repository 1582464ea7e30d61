"""Files that are handed out, read as they are sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import BinaryIO

from asgiref.sync import sync_to_async
from django.http import FileResponse


class Download(FileResponse):
    """A file as an attachment. Under ASGI, Django would read a whole file into memory before it sends the first byte; an
    export of a million rows is read piece by piece instead."""

    block_size = 2**16

    def __init__(self, file: BinaryIO, *, filename: str) -> None:
        super().__init__(file, as_attachment=True, filename=filename)
        self.file = file

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = sync_to_async(self.file.read, thread_sensitive=False)
        while block := await read(self.block_size):
            yield block
