"""docs/asvs.md answers every requirement of OWASP ASVS 5.0.0 of level 1 and 2, once, by tests that exist."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

import pytest

from tests.support.promises import ROOT, exists, named_tests

# Sections of the standard; the levels of their requirements, in order. Source: the standard's own list,
# https://github.com/OWASP/ASVS/tree/v5.0.0/5.0/docs_en (CC BY-SA 4.0, The OWASP Foundation).
LEVELS: Final = """
1.1 22            1.2 1111122223        1.3 112222222223  1.4 222            1.5 123
2.1 122           2.2 112               2.3 12223         2.4 23
3.1 3             3.2 113               3.3 12223         3.4 11222233       3.5 11122333
3.6 3             3.7 22333
4.1 12233         4.2 23333             4.3 22            4.4 1222
5.1 2             5.2 112333            5.3 113           5.4 222
6.1 122           6.2 111111112222      6.3 11223333      6.4 112233         6.5 22222333
6.6 2223          6.7 33                6.8 2222
7.1 222           7.2 1111              7.3 22            7.4 11222          7.5 223          7.6 22
8.1 1233          8.2 1123              8.3 133           8.4 23
9.1 111           9.2 1222
10.1 22           10.2 223              10.3 22223        10.4 1111122222233333
10.5 22222        10.6 22               10.7 222
11.1 2233         11.2 22233            11.3 11233        11.4 1222          11.5 23
11.6 23           11.7 33
12.1 12233        12.2 11               12.3 22223
13.1 2333         13.2 222223           13.3 2233         13.4 1222233
14.1 22           14.2 12223333         14.3 122
15.1 12233        15.2 12233            15.3 1222222      15.4 3333
16.1 2            16.2 22222            16.3 2222         16.4 222           16.5 2223
17.1 23           17.2 22223333         17.3 22
"""
REQUIREMENTS: Final = {
    f"{section}.{number}": int(level)
    for section, levels in re.findall(r"([0-9.]+) ([123]+)", LEVELS)
    for number, level in enumerate(levels, 1)
}
WANTED: Final = [name for name, level in REQUIREMENTS.items() if level < 3]
PAGE: Final = (ROOT / "docs" / "asvs.md").read_text("utf-8")
VERDICTS: Final = ("met", "partly", "not met", "operator", "none")


@dataclass(frozen=True)
class Row:
    """A line of the page: what it answers, and how."""

    names: str
    levels: str
    asked: str
    verdict: str
    answer: str

    def requirements(self) -> list[str]:
        """The requirements of level 1 and 2 from the first to the last that it names."""
        first, _, last = self.names.partition("–")
        return WANTED[WANTED.index(first) : WANTED.index(last or first) + 1]


ROWS: Final = [
    Row(*(cell.strip() for cell in line.strip("|").split(" | ")))
    for line in PAGE.splitlines()
    if re.match(r"\| [0-9]+\.[0-9]+\.[0-9]+", line)
]


def test_the_list_is_that_of_the_standard() -> None:
    assert Counter(REQUIREMENTS.values()) == {1: 70, 2: 183, 3: 92}


def test_every_requirement_is_answered_once_and_in_order() -> None:
    assert [name for row in ROWS for name in row.requirements()] == WANTED


@pytest.mark.parametrize("row", ROWS, ids=[row.names for row in ROWS])
def test_an_answer_is_whole(row: Row) -> None:
    assert row.levels == ", ".join(str(level) for level in sorted({REQUIREMENTS[one] for one in row.requirements()}))
    assert row.asked
    assert row.verdict in VERDICTS
    named = named_tests(row.answer)
    assert [test for test in named if not exists(test)] == []
    assert named or "](" in row.answer or row.verdict != "met", "nothing shows it"
    if row.verdict != "met":
        assert re.sub(r"`[^`]+`", "", row.answer).strip(), "nothing says why"


def test_what_it_links_to_is_there() -> None:
    headings = {"#" + line.lstrip("# ").lower().replace(" ", "-") for line in PAGE.splitlines() if line.startswith("#")}
    for place in re.findall(r"\]\(([^)]+)\)", PAGE):
        if not place.startswith("https://"):
            assert place in headings if place.startswith("#") else (ROOT / "docs" / place).exists(), place


def test_the_sums_are_right() -> None:
    counted = Counter(row.verdict for row in ROWS for _ in row.requirements())
    said = re.search(r"^Of (\d+) requirements (.+)\.$", PAGE, re.MULTILINE)
    assert said is not None
    assert int(said[1]) == len(WANTED)
    assert said[2] == ", ".join(f"{counted[verdict]} are {verdict}" for verdict in VERDICTS)
