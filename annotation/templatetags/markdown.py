"""Markdown for the reviewers' guidelines. Raw HTML is shown as text, and links lead only to web and mail addresses."""

from __future__ import annotations

from functools import cache, lru_cache

from django import template
from django.utils.safestring import SafeString
from markdown_it import MarkdownIt

register = template.Library()


@register.filter
@lru_cache(maxsize=32)  # a text made to be slow takes seconds, and the focus view shows it on every page
def markdown(text: str) -> SafeString:
    """Markdown as HTML. The parser escapes all HTML in the text and refuses dangerous links, so its output is safe."""
    html: str = _parser().render(text)
    return SafeString(html)


@cache
def _parser() -> MarkdownIt:
    """CommonMark with tables; no raw HTML and no images, which would load from elsewhere."""
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
