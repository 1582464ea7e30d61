"""Every message, in English and in Chinese: those that the engine is made to say here, and all that are written down."""

from __future__ import annotations

import ast
import asyncio
import builtins
import json
import pickle
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pandas as pd
import pytest
from django.conf import settings
from django.utils import translation

from annotation import errors
from annotation.errors import AnnotationError, InvalidFileError
from annotation.files.json_items import DECODER_FAULTS, fault_of
from annotation.messages import KEYWORDS, message_text
from mlcore.config import DistillConfig, LlmConfig
from mlcore.corpus import Corpus, EpochReport, NoisyLabels
from mlcore.errors import EngineError, InvalidInputError
from mlcore.llm.budget import Budget, Usage
from mlcore.llm.cost import Prices
from mlcore.llm.endpoint import failures
from mlcore.llm.endpoint.client import EndpointModel
from mlcore.llm.endpoint.failures import ServerRefusedError
from mlcore.llm.endpoint.guard import HttpResponse, RedirectRefusedError, check_address
from mlcore.messages import MESSAGES, Message
from mlcore.prompting.prompts import PromptTemplate, check_template
from mlcore.records import NO_LABEL
from mlcore.slm.cross_fit import Trained, refuse_divergence, why_stop
from mlcore.slm.inputs import check_inputs
from mlcore.slm.noise import split_clean
from mlcore.slm.trees import encode_table

ROOT = Path(settings.BASE_DIR)
EPOCH = EpochReport(1, "robust", 0.1, 0.0, 1.0, 0.0, 0.0, [], [], 1.0)


def placeholders(template: str) -> set[str]:
    return set(re.findall(r"%\((\w+)\)s", template))


def words_in_latin(text: str) -> set[str]:
    return set(re.findall("[A-Za-z]+", text))


#: What is written in Latin letters in Chinese as well: products, file formats, settings, placeholders.
LATIN_NAMES = words_in_latin(
    "LLM API token Hugging Face Inference Hub http https host port path config json JSON safetensors GGUF "
    "owner name content demonstrations labels CORAL epoch coral install models UTF"
) | {"s"}


def warnings_of(given: list[int], texts: list[str]) -> list[Message]:
    labels = NoisyLabels(np.array(given), None, np.full(len(given), NO_LABEL), 2)
    return check_inputs(Corpus(texts), labels, DistillConfig())


def failed_call(status: int, body: bytes = b"") -> Message:
    refused = ServerRefusedError(HttpResponse(status, {}, body))
    return failures.judge(refused, deadline=5.0, url="http://127.0.0.1/v1").message


async def hold_too_much(budget: Budget) -> None:
    async with budget.hold(Usage(1_200, 20)):
        pass


def refused(attempt: Callable[[], object]) -> Message:
    with pytest.raises(EngineError) as caught:
        attempt()
    return caught.value.message


def said_by_the_language_model() -> Iterator[Message | None]:
    for status in (400, 401, 402, 403, 404, 413, 418, 422, 429, 503):
        yield failed_call(status)
    for body in (b"no such model", b"content_filter", b"no"):
        yield failed_call(400, body)
    key: Any = None
    untrusted = aiohttp.ClientConnectorCertificateError(key, ValueError("x"))
    insecure = aiohttp.ClientConnectorSSLError(key, OSError())
    errors = (TimeoutError(), aiohttp.ClientConnectorError(key, OSError()), OSError(), ValueError())
    for error in (
        *errors,
        aiohttp.InvalidURL("x"),
        aiohttp.ClientPayloadError(),
        untrusted,
        insecure,
        RedirectRefusedError("redirected", status=302),
    ):
        yield failures.judge(error, deadline=2.5).message
    yield failures.EMPTY.message
    for budget in (Budget(tokens=1_000), Budget(money=0.001, prices=Prices(price_in=10.0))):
        yield refused(partial(asyncio.run, hold_too_much(budget)))
    for address in ("http://[", "ftp://x", "http://a b/", "http://example.com/", "http://10.0.0.1/"):
        allowed = ["*"] if "10.0" in address else ["127.0.0.1"]
        yield refused(partial(check_address, address, allowed))
    yield refused(lambda: EndpointModel(LlmConfig(kind="hub", model="a/b"), token="", allowed_hosts=[]))
    yield from check_template(PromptTemplate("x" * 30_000, "{content}", "{demonstrations}"))
    yield from check_template(PromptTemplate("{content} {labels}", "shown:", "{content} {content}"))


def said_by_the_engine() -> Iterator[Message | None]:
    yield from said_by_the_language_model()
    yield why_stop([replace(EPOCH, epoch=number) for number in range(1, 9)], DistillConfig())
    yield from Trained(np.zeros((2, 2)), np.zeros(2), [replace(EPOCH, skipped=3)]).warnings
    yield refused(partial(refuse_divergence, [], np.array([[np.nan, 1.0]]), 4))
    yield from warnings_of([0] * 20, ["text"] * 20)
    yield from warnings_of([0] * 12 + [1] * 3, ["", *["text"] * 14])
    yield from encode_table(
        pd.DataFrame({"age (in 3 years)": ["old", "3"]}), {"age (in 3 years)": "number"}
    ).warnings
    for losses in (np.ones(60), np.array([0.1, 0.9]), np.random.default_rng(0).normal(5, 1, 900)):
        yield split_clean(losses, np.zeros(len(losses), dtype=np.int64), 1).mixtures[0].fallback


@pytest.mark.parametrize("message", [*said_by_the_engine(), Message("all_epochs", {"epochs": 12})])
def test_what_the_engine_says_is_a_known_message_with_its_values(message: Message) -> None:
    assert set(message.params) == placeholders(MESSAGES[message.code])
    with translation.override("en"):
        english = str(message)
    with translation.override("zh-hans"):
        chinese = str(message)
    assert "%(" not in english + chinese
    assert chinese != english
    assert all(number in chinese for number in english.split() if number.isdigit())


@pytest.mark.parametrize("code", MESSAGES)
def test_every_message_of_the_engine_is_wholly_chinese_but_for_names(code: str) -> None:
    assert re.findall(r"%(?!\(\w+\)s)", MESSAGES[code].replace("%%", "")) == [], "placeholders are %(name)s"
    with translation.override("zh-hans"):
        chinese = str(Message(code, dict.fromkeys(placeholders(MESSAGES[code]), 7)))
    assert re.search("[\u4e00-\u9fff]", chinese)
    assert words_in_latin(chinese) - LATIN_NAMES == set()


def test_every_message_is_used_and_every_code_that_is_used_is_written_down() -> None:
    paths = [*(ROOT / "mlcore").rglob("*.py"), ROOT / "annotation/pipeline/label/check_connection.py"]
    used = {code for path in paths for code in codes_in(path)}
    # Made from a status, of which there are several.
    used |= {f"http_{status}" for status in failures.REFUSED_STATUS}
    assert used == set(MESSAGES)


def codes_in(path: Path) -> Iterator[str]:
    """Codes of messages that a module raises or makes, and the codes that it keeps for later."""
    if path.name == "messages.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        code: ast.expr | None = None
        if isinstance(node, ast.Call) and node.args and makes_a_message(node.func):
            code = node.args[0]
        elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
            code = node.value.elts[0]
        elif path.parent.name == "plan" and isinstance(node, ast.Constant) and node.value in MESSAGES:
            yield str(node.value)  # the planner's reasons go through functions of its own
        if isinstance(code, ast.Constant) and (isinstance(node, ast.Call) or code.value in MESSAGES):
            yield str(code.value)


def makes_a_message(called: ast.expr) -> bool:
    name = (
        called.id
        if isinstance(called, ast.Name)
        else called.attr
        if isinstance(called, ast.Attribute)
        else ""
    )
    return name in ("Message", "__init__") or (name.endswith("Error") and not hasattr(builtins, name))


def test_a_reason_within_a_sentence_is_translated_too() -> None:
    message = Message("many_failures", {"count": 20, "reason": Message("server_failed", {"status": 500})})
    with translation.override("zh-hans"):
        words = message_text(message.as_text())
    assert words_in_latin(words) == set()
    assert "20" in words
    assert "500" in words


@pytest.mark.parametrize(
    "message",
    [
        Message("empty_rows", {"count": 12_000}),
        Message("stopped"),
        Message("many_failures", {"count": 2, "reason": Message("http_429")}),
        Message("The file “%(name)s” has {braces}.", {"name": '{"code": 1}'}),
    ],
)
def test_a_message_is_stored_as_json_and_as_text_and_read_back(message: Message) -> None:
    assert Message.of(json.loads(json.dumps(message.as_json()))) == message
    assert Message.of(message.as_text()) == message
    assert message_text(message.as_text()) == str(message)


def test_whole_numbers_are_shown_with_thousands_separators() -> None:
    assert str(Message("empty_rows", {"count": 12_000})) == "12,000 row(s) have no text."


def test_an_error_says_its_message_and_survives_a_process() -> None:
    error = pickle.loads(pickle.dumps(InvalidInputError("too_few_rows", rows=1)))
    assert str(error) == "The corpus has 1 rows. Training needs at least 2."
    assert error.message == Message("too_few_rows", {"rows": 1})


def test_an_error_of_the_application_is_read_in_the_language_of_its_reader() -> None:
    error = InvalidFileError("The file is empty.")
    assert str(error) == "The file is empty."
    with translation.override("zh-hans"):
        assert words_in_latin(str(error)) == set()


APPLICATION = [*(ROOT / "annotation").rglob("*.py"), *(ROOT / "coral_site").rglob("*.py")]


def told_in(path: Path) -> Iterator[tuple[ast.Call, ast.expr]]:
    """The calls of a module that make a message or raise an error of ours, and the text that each is given."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args and called(node) in KEYWORDS:
            yield node, node.args[0]


def called(node: ast.Call) -> str:
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def test_every_class_of_errors_marks_its_text_for_translation() -> None:
    classes = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert {name for name in classes if issubclass(getattr(errors, name), AnnotationError)} <= set(KEYWORDS)


@pytest.mark.parametrize("path", APPLICATION, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_text_that_is_told_has_a_chinese_one_and_all_of_its_values(path: Path) -> None:
    for call, argument in told_in(path):
        where = f"{path.name}:{call.lineno}"
        if not isinstance(argument, ast.Constant):
            assert not any(isinstance(part, ast.JoinedStr) for part in ast.walk(argument)), (
                f"{where}: a made-up text"
            )
            continue
        text = str(argument.value)
        bare = re.sub(r"%%|%\(\w+\)s", "", text)
        with translation.override("zh-hans"):
            chinese = str(Message(text))
        assert re.search("[\u4e00-\u9fff]", chinese) or words_in_latin(bare) <= LATIN_NAMES, (
            f"{where}: no Chinese text"
        )
        assert "%" not in bare or bare == text, f"{where}: placeholders are %(name)s"
        given = {keyword.arg for keyword in call.keywords} - {"retry_in"}
        assert given == placeholders(text), f"{where}: other values than placeholders"


def test_what_pythons_json_decoder_says_is_known() -> None:
    texts = ["[", '{"a" 1}', "[1 2]", "{1}", '{"a":1,}', "[1,]", '"a', '"\t"', r'"\q"', r'"\u12"', "1 2"]
    known = {str(fault) for fault in DECODER_FAULTS}
    for text in texts:
        with pytest.raises(json.JSONDecodeError) as caught:
            json.loads(text)
        assert str(fault_of(caught.value)) in known, text


def test_what_a_worker_stored_in_its_own_language_is_looked_up() -> None:
    with translation.override("zh-hans"):
        assert message_text("Running.") != "Running."
    assert message_text("") == ""


def test_an_unknown_sentence_stays_as_it_is() -> None:
    assert message_text("100 % odd (really)") == "100 % odd (really)"
    assert message_text("{labels} is an odd beginning") == "{labels} is an odd beginning"
