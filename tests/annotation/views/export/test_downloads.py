from __future__ import annotations

from pathlib import Path

from annotation.views.export.downloads import Download


async def test_a_download_is_read_piece_by_piece_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(bytes(range(256)) * 4096)  # 1 MiB
    download = Download(path.open("rb"), filename="rows.csv")
    pieces = aiter(download)
    first = await anext(pieces)
    assert download.file.tell() == len(first) < 2**17
    assert first + b"".join([piece async for piece in pieces]) == path.read_bytes()
    assert download["Content-Length"] == str(2**20)
    assert download["Content-Disposition"] == 'attachment; filename="rows.csv"'
