"""Demands on every page: well-formed, without scripts, and in need of no other file."""

import html.parser
import re


class Reader(html.parser.HTMLParser):
    """Collects tags, and complains about those that are closed in another order than they were opened."""

    VOID = {"meta", "img", "br", "link", "input", "path", "use", "rect"}

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.attributes = [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def assert_self_contained(text):
    reader = Reader(text)
    assert "script" not in reader.seen and "link" not in reader.seen and "iframe" not in reader.seen
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    for name, value in reader.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("data:image/png;base64,", "#")), value[:80]
    outside = set(re.findall(r"https?://[^\s\"'<)]+", text))
    assert all(address.startswith(("http://www.w3.org/", "https://www.w3.org/")) for address in outside), outside
    assert not re.search(r"\\(xa0|u00a0|u2009|u202f)", text), "a space of the page's own was escaped"
    assert "prefers-color-scheme:dark" in text and "width=device-width" in text
    return reader
