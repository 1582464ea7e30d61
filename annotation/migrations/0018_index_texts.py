import numpy as np
from django.db import migrations

PAGE_ENTRIES = 4_096


def index_texts(apps, schema_editor):
    """Make the rows of finished imports known by their texts, a run a project (as pipeline/same_texts.py does)."""
    alias = schema_editor.connection.alias
    for project in apps.get_model("annotation", "Project").objects.using(alias).order_by("pk"):
        reports = project.uploads.values_list("report", flat=True)
        # What an unfinished import stored may be taken back, and is looked through row by row until it is finished.
        half = [
            report["start_position"]
            for report in reports
            if report.get("start_position") is not None and not report.get("finished")
        ]
        rows = project.samples.order_by("position")
        if half:
            rows = rows.filter(position__lt=min(half))
        _index_rows(project, rows, apps.get_model("annotation", "TextPage").objects.using(alias))


def _index_rows(project, rows, pages):
    entries = np.empty(rows.count(), np.uint64)
    position = -1
    read = rows.values_list("position", "content_hash").iterator(chunk_size=5_000)
    for index, (position, digest) in enumerate(read):
        # A row without a hash must not stop an update; what is found by a key is checked by the whole hash.
        entries[index] = int(digest[:8] or "0", 16) << 32 | position
    entries.sort()
    for begin in range(0, len(entries), PAGE_ENTRIES):
        page = entries[begin : begin + PAGE_ENTRIES]
        pages.create(
            project=project,
            run_start=0,
            run_end=position + 1,
            smallest=int(page[0]) >> 32,
            largest=int(page[-1]) >> 32,
            keys=(page >> np.uint64(32)).astype("<u4").tobytes(),
            positions=page.astype(np.uint32).astype("<u4").tobytes(),
        )


def forget_texts(apps, schema_editor):
    apps.get_model("annotation", "TextPage").objects.using(schema_editor.connection.alias).delete()


class Migration(migrations.Migration):

    dependencies = [
        ('annotation', '0017_text_pages'),
    ]

    operations = [
        migrations.RunPython(index_texts, forget_texts),
    ]
