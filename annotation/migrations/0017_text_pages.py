import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('annotation', '0016_find_decided_in_bulk'),
    ]

    operations = [
        migrations.CreateModel(
            name='TextPage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='text_pages', to='annotation.project')),
                ('run_start', models.PositiveIntegerField(help_text='The first position of the run.')),
                ('run_end', models.PositiveIntegerField(help_text="The position behind the run's last.")),
                ('smallest', models.PositiveBigIntegerField(help_text="The first key.")),
                ('largest', models.PositiveBigIntegerField(help_text="The last key.")),
                ('keys', models.BinaryField(help_text='Of each entry the first 32 bits of the content hash.')),
                ('positions', models.BinaryField(help_text='Of each entry the position, in 32 bits.')),
            ],
        ),
        migrations.RemoveIndex(
            model_name='sample',
            name='sample_by_content',
        ),
    ]
