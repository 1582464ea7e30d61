"""Guidelines as HTML."""

from __future__ import annotations

from annotation.templatetags.markdown import markdown


def test_html_in_a_text_is_shown_and_bad_links_lead_nowhere() -> None:
    html = markdown("<b>a</b> [x](javascript:alert)")
    assert "<b>" not in html
    assert "href" not in html


def test_a_text_is_read_once_since_a_slow_one_takes_seconds() -> None:
    markdown.cache_clear()
    assert markdown("*once*") == markdown("*once*") == "<p><em>once</em></p>\n"
    assert markdown.cache_info().hits == 1
