"""What a Chinese reader meets beside the pages' own words: prompts, ways of reading a file, keys, Django's sentences."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest
from django.contrib.auth.password_validation import password_validators_help_texts
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import translation

from annotation.errors import AnnotationError
from annotation.files.text.delimiters import DELIMITERS
from annotation.files.text.encodings import ENCODINGS
from annotation.pipeline.ingest import upload
from annotation.pipeline.project import configure
from annotation.pipeline.project.configure import LabelDraft
from annotation.pipeline.project.default_prompts import default_prompts
from mlcore.prompting.prompts import check_template
from mlcore.prompting.tasks import TASKS, Task
from tests.support.factories import make_project
from tests.support.pages import make_cast

ENGLISH = re.compile("[A-Za-z]{3,} [A-Za-z]{3,}")


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_default_prompt_works_in_chinese_too(task: Task) -> None:
    with translation.override("zh-hans"):
        english, chinese = default_prompts(task)
    assert english == task.default_prompt
    assert check_template(chinese) == []
    assert not ENGLISH.search(f"{chinese.description} {chinese.output}")


@pytest.mark.django_db
def test_a_default_prompt_in_chinese_is_put_into_the_fields_and_not_stored() -> None:
    cast = make_cast()
    stored = cast.project.prompt
    with translation.override("zh-hans"):
        chinese = default_prompts(cast.project.task)[1]
    owner, address = cast.client("owner"), cast.url("configure/prompt/")
    with translation.override("en"):  # which ends what a request leaves chosen
        owner.post("/language/", {"language": "zh-hans"})
        assert chinese.description.split("\n")[0] in owner.get(address).content.decode()
        html = owner.post(address, asdict(chinese) | {"preview": "1"}).content.decode()
    assert "文本：{content}" in re.sub(r"<details>.*</details>", "", html, flags=re.DOTALL)
    cast.project.refresh_from_db()
    assert cast.project.prompt == stored


def test_how_a_file_is_read_is_offered_in_chinese() -> None:
    with translation.override("zh-hans"):
        names = [str(name) for name in (*ENCODINGS.values(), *DELIMITERS.values())]
    assert [name for name in names if re.search(r"\(|^[a-z]|[a-z]{4,} [a-z]", name)] == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("first", "is_told"),
    [
        ("速度非常快，很好！", True),
        ("The soup was cold.", True),
        ("评论内容", False),
        ("review", False),
        ("id.", False),
    ],
)
def test_a_text_that_would_be_lost_as_the_name_of_the_only_column_is_told_of(
    first: str, is_told: bool
) -> None:
    file = SimpleUploadedFile("一行一条.txt", f"{first}\n送餐太慢\n好吃\n".encode("gb18030"))
    stored = upload.store_upload(make_project(rows=0), file, None)
    told = any("used as the column name" in warning for warning in upload.read_preview(stored).warnings)
    assert told is is_told


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        (["评论编号", "评论内容", "参考标签", "门店"], ["评论内容", "评论编号", "参考标签"]),
        (["编号", "工单编号", "回复内容", "来电内容"], ["编号"]),
        (["门店", "满意度"], []),
    ],
)
def test_columns_with_compound_chinese_names_are_guessed_where_one_alone_fits(
    columns: list[str], chosen: list[str]
) -> None:
    cast = make_cast(rows=0)
    lines = [columns, ["一"] * len(columns), ["二"] * len(columns)]
    file = SimpleUploadedFile("评论.csv", "\n".join(map(",".join, lines)).encode())
    stored = upload.store_upload(cast.project, file, None)
    html = cast.client("owner").get(cast.url(f"configure/data/{stored.pk}/")).content.decode()
    marked = re.findall(r'<(?:option|input)[^>]*value="([^"]*)"[^>]*\b(?:checked|selected)\b', html)
    assert [name for name in marked if name in columns] == chosen


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["差", "１"])
def test_a_key_that_no_keyboard_has_is_refused(key: str) -> None:
    project = make_project(rows=0)
    with pytest.raises(AnnotationError, match="is not a single key"):
        configure.set_labels(project, [LabelDraft("好评", key="1"), LabelDraft("差评", key=key)])


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["s", "U", "?"])
def test_a_key_that_means_something_else_in_the_review_is_refused(key: str) -> None:
    project = make_project(rows=0)
    with pytest.raises(AnnotationError, match="already used on the review page"):
        configure.set_labels(project, [LabelDraft("好评", key="1"), LabelDraft("差评", key=key)])


def test_djangos_own_words_to_a_newcomer_are_as_polite_as_the_pages() -> None:
    with translation.override("zh-hans"):
        told = " ".join(password_validators_help_texts())
    assert "密码" in told
    assert "你" not in told
