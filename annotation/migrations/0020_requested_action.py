"""What a person asks of a stage at work is a requested action."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("annotation", "0019_answers_in_focus")]

    operations = [migrations.RenameField("stage", "wish", "requested_action")]
