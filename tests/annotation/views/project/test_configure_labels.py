from __future__ import annotations

import pytest
from django.test import Client

from annotation.models import Sample, Upload
from tests.support.configuring import make_empty, upload
from tests.support.factories import make_user

pytestmark = pytest.mark.django_db

CSV = "id,text,label\n1,a fine film,good\n2,a poor film,bad\n3,fine again,good\n"


@pytest.fixture
def owner() -> Client:
    client = Client()
    client.force_login(make_user())
    return client


def lines(*names: str, **more: str) -> dict[str, str]:
    data = {"labels-TOTAL_FORMS": str(len(names)), "labels-INITIAL_FORMS": "0"}
    for place, name in enumerate(names):
        data |= {f"labels-{place}-name": name, f"labels-{place}-description": "", f"labels-{place}-key": ""}
    return data | more


def test_labels_are_suggested_from_the_reference_column(owner: Client) -> None:
    project = make_empty(owner)
    upload(owner, project, CSV)
    stored = Upload.objects.get()
    stored.report = {"reference_values": {"good": 2, "bad": 1}}
    stored.save()
    project.columns, project.reference_column = ["id", "text", "label"], "label"
    project.save()
    html = owner.get(f"/projects/{project.pk}/configure/labels/").content.decode()
    assert html.index('value="good"') < html.index('value="bad"')
    assert "Suggested from the values of the column" in html


def test_labels_are_stored_in_their_order(owner: Client) -> None:
    project = make_empty(owner)
    answer = owner.post(f"/projects/{project.pk}/configure/labels/", lines("b", "", "a"))
    assert answer["Location"] == f"/projects/{project.pk}/configure/prompt/"
    assert [label.name for label in project.label_list()] == ["b", "a"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["only"], "at least 2"),
        ([""], "at least 2"),
        (["Same", "same"], "could not tell these label names apart"),
    ],
)
def test_wrong_labels_get_a_sentence_and_keep_what_was_typed(
    owner: Client, names: list[str], sentence: str
) -> None:
    project = make_empty(owner)
    answer = owner.post(f"/projects/{project.pk}/configure/labels/", lines(*names))
    html = answer.content.decode()
    assert answer.status_code == 400
    assert sentence in html
    assert all(f'value="{name}"' in html for name in names if name)
    assert project.labels.count() == 0


def pasted(text: str, **more: str) -> dict[str, str]:
    return {"label_list": text, **more}


def test_labels_are_pasted_as_a_list(owner: Client) -> None:
    project = make_empty(owner)
    text = 'billing\tmoney, invoices\tb\r\n\r\ndelivery, late, or lost, d\nrefund\n账户，登录问题\n"food, drinks",menu\n'
    owner.post(f"/projects/{project.pk}/configure/labels/", pasted(text))
    assert list(project.labels.values_list("name", "description", "key")) == [
        ("billing", "money, invoices", "b"),
        ("delivery", "late, or lost", "d"),
        ("refund", "", ""),
        ("账户", "登录问题", ""),
        ("food, drinks", "menu", ""),
    ]


def test_a_thousand_labels_are_kept_and_shown_as_the_list_that_was_pasted(owner: Client) -> None:
    project = make_empty(owner)
    url = f"/projects/{project.pk}/configure/labels/"
    owner.post(url, pasted("\n".join(f'intent {number}, about "{number}"' for number in range(1_000))))
    before = list(project.labels.values_list("name", "description"))
    assert len(before) == 1_000
    shown = owner.get(url).context["list_form"]["label_list"].value()
    owner.post(url, pasted(shown))
    assert list(project.labels.values_list("name", "description")) == before


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a\nb\n" + "long " * 30, "Line 3, Name: “long long"),
        ("a\nb\twhat\tkey", "Line 2, Key: “key” is too long. Characters allowed: 1."),
        ("\n".join(map(str, range(1_001))), "There are 1,001 labels; at most 1,000 are allowed"),
        ("a\n" + "x" * 200_000, "Line 2 is too long"),
    ],
)
def test_a_list_that_is_too_long_gets_a_sentence_and_nothing_is_cut(
    owner: Client, text: str, sentence: str
) -> None:
    project = make_empty(owner)
    answer = owner.post(f"/projects/{project.pk}/configure/labels/", pasted(text))
    assert answer.status_code == 400
    assert sentence in answer.content.decode()
    assert answer.context["list_form"]["label_list"].value() == text
    assert not project.labels.exists()


def test_lines_become_a_list_and_a_list_lines(owner: Client) -> None:
    project = make_empty(owner)
    url = f"/projects/{project.pk}/configure/labels/"
    as_list = owner.post(url, lines("a", "", "b", change="list")).context["list_form"]
    assert as_list["label_list"].value() == "a\t\t\nb\t\t\n"
    as_lines = owner.post(url, pasted("a\nb, second", change="add")).content.decode()
    assert 'value="second"' in as_lines
    assert not project.labels.exists()


def test_a_line_is_added_and_removed_and_nothing_is_stored(owner: Client) -> None:
    project = make_empty(owner)
    url = f"/projects/{project.pk}/configure/labels/"
    more = owner.post(url, lines("a", "b", change="add")).content.decode()
    assert 'name="labels-2-name"' in more
    less = owner.post(url, lines("a", "b", change="remove-0")).content.decode()
    assert 'value="b"' in less
    assert 'value="a"' not in less
    assert project.labels.count() == 0


def test_a_label_that_rows_carry_is_renamed_in_its_line_and_merged_below(owner: Client) -> None:
    project = make_empty(owner)
    url = f"/projects/{project.pk}/configure/labels/"
    owner.post(url, lines("good", "bad", "fair"))
    good, bad, fair = project.label_list()
    Sample.objects.create(project=project, position=0, text="x", fields=["x"], label=fair)
    html = owner.get(url).content.decode()
    assert f'name="labels-2-label" value="{fair.pk}"' in html
    ids = {f"labels-{place}-label": str(label.pk) for place, label in enumerate((good, bad, fair))}
    owner.post(url, lines("very good", "bad", "fair", **ids))
    assert [label.name for label in project.label_list()] == ["very good", "bad", "fair"]
    assert "“good” → “very good”" in project.activities.latest("pk").what
    answer = owner.post(f"{url}merge/", {"label": fair.pk, "into": good.pk}, follow=True)
    assert "“fair” is now “very good” (1 rows)." in answer.content.decode()
    assert Sample.objects.get().label == good
