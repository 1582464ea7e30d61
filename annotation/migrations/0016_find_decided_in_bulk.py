from django.db import migrations

# The word that stands on a row is the newest that nobody took back; the models' label is what a withdrawal would give.
# The plus signs keep SQLite from walking over all corrections, or all of a round, once for every row.
FIND = """
UPDATE annotation_sample SET
    batch_id = (
        SELECT said.batch_id FROM annotation_correction said
        WHERE said.sample_id = annotation_sample.id AND said.label_id IS NOT NULL AND +said.undoes_id IS NULL
            AND NOT EXISTS (SELECT 1 FROM annotation_correction later WHERE later.undoes_id = said.id)
        ORDER BY said.id DESC LIMIT 1
    ),
    machine_label_id = COALESCE((
        SELECT word.verdict_id FROM annotation_prediction word
        JOIN annotation_iteration round ON round.id = +word.iteration_id
        WHERE word.sample_id = annotation_sample.id AND word.source = 'slm' AND +word.verdict_id IS NOT NULL
            AND round.withdrawn_at IS NULL
        ORDER BY round.number DESC LIMIT 1
    ), llm_label_id)
WHERE source = 'person'
"""


class Migration(migrations.Migration):
    """Rows that were decided in bulk before this was kept on the row itself."""

    dependencies = [("annotation", "0015_decided_in_bulk")]

    operations = [migrations.RunSQL(FIND, migrations.RunSQL.noop)]
