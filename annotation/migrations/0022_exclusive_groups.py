"""The database no longer names the kinds of stages: each stage carries the group whose active stages exclude each other."""

from django.db import migrations, models

GROUPS = {"corpus": ["import", "llm", "slm", "restore", "deletion"], "trial": ["trial"]}


def fill_groups(apps, schema_editor):
    stages = apps.get_model("annotation", "Stage").objects.using(schema_editor.connection.alias)
    for group, kinds in GROUPS.items():
        stages.filter(kind__in=kinds).update(exclusive_group=group)


class Migration(migrations.Migration):
    dependencies = [("annotation", "0021_draw_numbers")]

    operations = [
        migrations.AddField(
            "stage",
            "exclusive_group",
            models.CharField(blank=True, default="", max_length=20),
            preserve_default=False,
        ),
        migrations.AlterField("stage", "kind", models.CharField(max_length=20)),
        migrations.RemoveConstraint("stage", "one_active_stage_per_project"),
        migrations.RemoveConstraint("stage", "one_active_trial_per_project"),
        migrations.RunPython(fill_groups, migrations.RunPython.noop),
        migrations.AddConstraint(
            "stage",
            models.UniqueConstraint(
                condition=models.Q(
                    ("status__in", ["queued", "running", "paused"]), models.Q(("exclusive_group", ""), _negated=True)
                ),
                fields=("project", "exclusive_group"),
                name="one_active_stage_per_group",
            ),
        ),
    ]
