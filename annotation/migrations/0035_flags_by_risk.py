from typing import Any

from django.db import migrations
from django.db.models import Case, F, OuterRef, Q, Subquery, Value, When

# As the engine flags since version 0.2, where flags follow from the risk alone.
RIGHT, MARKED = 0.2, 0.4


def flag_by_risk(apps: Any, schema_editor: Any) -> None:
    """Flag judged rows and their predictions by their risk: earlier versions called rows right whose models agreed."""
    alias = schema_editor.connection.alias
    sample, prediction = (
        apps.get_model("annotation", name).objects.using(alias) for name in ("Sample", "Prediction")
    )
    judged = prediction.filter(source="slm", risk__isnull=False)
    llm = sample.filter(pk=OuterRef("sample")).values("llm_label")[:1]
    judged.alias(llm=Subquery(llm)).update(flag=_flag(Q(llm__isnull=False) & ~Q(label=F("llm"))))
    rows = sample.exclude(flag="")
    rows.exclude(source="person").filter(risk__isnull=False).update(flag=_flag(~Q(llm_label=F("slm_label"))))
    newest = judged.filter(sample=OuterRef("pk"), iteration__withdrawn_at=None).order_by("-iteration__number")
    decided = rows.filter(source="person").alias(newest=Subquery(newest.values("flag")[:1]))
    decided.filter(newest__isnull=False).update(flag=Subquery(newest.values("flag")[:1]))


def _flag(differ: Q) -> Case:
    return Case(
        When(risk__lte=RIGHT, then=Value("right")),
        When(differ & Q(risk__lte=MARKED), then=Value("inconsistent")),
        default=Value("wrong"),
    )


class Migration(migrations.Migration):
    dependencies = [("annotation", "0034_further_connections")]

    operations = [migrations.RunPython(flag_by_risk, migrations.RunPython.noop)]
