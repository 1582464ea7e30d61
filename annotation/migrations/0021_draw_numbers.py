"""A draw has a number, a share is that of double review, and stored counts are row counts."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("annotation", "0020_requested_action")]

    operations = [
        migrations.RenameField("auditdraw", "batch", "draw_number"),
        migrations.RenameField("project", "second_percent", "double_review_percent"),
        migrations.RenameModel("Tally", "RowCounts"),
        migrations.AlterField(
            "rowcounts",
            "project",
            models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE, related_name="row_counts", to="annotation.project"
            ),
        ),
    ]
