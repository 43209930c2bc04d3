"""What the pages of the server may not do, in their text; what they do is tried in a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

import pytest

from server.web.pages import STATIC

PAGES: Final = sorted(path.name for path in STATIC.glob("*.html"))
SCRIPTS: Final = sorted(path.name for path in STATIC.glob("*.js"))
TAKES_TEXT_FOR_A_PAGE: Final = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|parseFromString"
    r"|\beval\(|new Function|setTimeout\(\s*[\"'`]|javascript:|postMessage|onmessage|addEventListener\(\"message\""
)
# All that our own scripts keep in the browser: that it has had a passkey here. GraphiQL keeps operations until the end
# of the session.
KEPT: Final = re.compile(
    r"(?:[\w.]+(?: in |\())?(?:localStorage|sessionStorage|indexedDB|document\.cookie)(?:\[\w+\]|\.\w+\(\w+\)|\))?"
)


class Elements(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed((STATIC / name).read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_holds_no_script_and_loads_nothing_from_elsewhere(name: str) -> None:
    for tag, attributes in Elements(name).found:
        assert tag not in {"object", "embed", "applet", "iframe", "base", "style"}
        assert not [one for one in attributes if one.startswith("on") or one == "style"], (tag, attributes)
        for place in ("src", "href", "action"):
            value = attributes.get(place)
            assert value is None or (value.startswith("/") and not value.startswith("//")), (tag, value)
        assert tag != "script" or attributes.get("src")


@pytest.mark.parametrize("name", PAGES)
def test_passwords_are_masked_and_left_to_the_password_manager(name: str) -> None:
    for tag, attributes in Elements(name).found:
        if tag == "input" and re.search(r"password|current|^new$", f"{attributes.get('name')}"):
            assert attributes["type"] == "password", attributes
            assert attributes["autocomplete"] in {"current-password", "new-password"}
            assert "maxlength" not in attributes


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_take_no_text_for_a_page_and_forbid_no_pasting(name: str) -> None:
    text = (STATIC / name).read_text("utf-8")
    assert TAKES_TEXT_FOR_A_PAGE.findall(text) == []
    assert "paste" not in text


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_set_no_properties_by_names_that_others_choose(name: str) -> None:
    text = (STATIC / name).read_text("utf-8")
    assert re.findall(r"[\w.]*[\w)\]]\[[^\]]+\]\s*(?:\?\?|\|\|)?=(?![=>])", text) == (
        ["localStorage[USED] ="] if name == "passkeys.js" else []
    )
    assert "__proto__" not in text
    assert re.findall(r"Object\.assign\((?!document\.createElement)", text) == []


def test_scripts_keep_nothing_of_the_session_in_the_browser() -> None:
    kept = {name: uses for name in SCRIPTS if (uses := KEPT.findall((STATIC / name).read_text("utf-8")))}
    assert kept == {
        "passkeys.js": ["USED in localStorage", "localStorage[USED]"],
        "session.js": ["Object.keys(localStorage)", "localStorage.removeItem(key)"],
    }


@pytest.mark.parametrize("page", ["account.html", "graphiql.js"])
def test_whoever_is_signed_in_finds_the_way_out(page: str) -> None:
    assert "Sign out" in (STATIC / page).read_text("utf-8")
