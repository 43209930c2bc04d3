"""The search language: what it reads, and where exactly it says that it cannot."""

from __future__ import annotations

import re
import warnings
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.errors import BadUserInput
from domain.runs import RUN_VOCABULARY
from domain.search import (
    And,
    AttributeTarget,
    Comparison,
    Expression,
    Id,
    IsNull,
    KeyedKind,
    KeyTarget,
    Match,
    Membership,
    Not,
    Operator,
    Or,
    Pattern,
    mentions,
    parse,
    parse_target,
)
from domain.search.regex import PatternError, translate

MODEL = "mdl_" + "0123456789abcdef" * 2
RUN = "run_" + "0123456789abcdef" * 2


def read(text: str) -> Expression | None:
    return parse(text, RUN_VOCABULARY)


def attribute(name: str) -> AttributeTarget:
    return AttributeTarget(name, RUN_VOCABULARY.attributes[name])


def metric(key: str) -> KeyTarget:
    return KeyTarget("metrics", key, KeyedKind.NUMBERS)


def param(key: str) -> KeyTarget:
    return KeyTarget("params", key, KeyedKind.MIXED)


def tag(key: str) -> KeyTarget:
    return KeyTarget("tags", key, KeyedKind.TEXTS)


def test_the_example_of_the_documentation() -> None:
    assert read(
        'metrics.loss < 0.1 and (params.optimizer = "adam" or tags.stage in ("dev","qa")) and not status = "failed"'
        ' and name like "resnet%" and created > "2026-01-01"'
    ) == And(
        (
            Comparison(metric("loss"), Operator.LT, 0.1),
            Or(
                (
                    Comparison(param("optimizer"), Operator.EQ, "adam"),
                    Membership(tag("stage"), ("dev", "qa"), negated=False),
                )
            ),
            Not(Comparison(attribute("status"), Operator.EQ, "failed")),
            Match(attribute("name"), Pattern.LIKE, "resnet%", negated=False),
            Comparison(attribute("created"), Operator.GT, datetime(2026, 1, 1, tzinfo=UTC)),
        )
    )


@pytest.mark.parametrize("text", [None, "", "  \n\t "])
def test_no_text_is_no_filter(text: str | None) -> None:
    assert parse(text, RUN_VOCABULARY) is None


def test_and_binds_tighter_than_or_and_not_tighter_than_both() -> None:
    a, b, c = (Comparison(metric(key), Operator.GT, 1.0) for key in "abc")
    assert read("metrics.a > 1 or metrics.b > 1 and not metrics.c > 1") == Or((a, And((b, Not(c)))))
    assert read("NOT (metrics.a > 1 OR metrics.b > 1) AND metrics.c > 1") == And((Not(Or((a, b))), c))


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("metrics.val.loss = 1", metric("val.loss")),
        ("metrics.val/loss-2 = 1", metric("val/loss-2")),
        ("metric.loss = 1", metric("loss")),
        ('metrics."val loss" = 1', metric("val loss")),
        ("metrics.`val loss` = 1", metric('val ""loss'.replace('""', ""))),
        ("metrics.`a``b` = 1", metric("a`b")),
        ('params."x""y" = 1', param('x"y')),
        ("parameters.lr = 1", param("lr")),
        ("PARAMS.lr = 1", param("lr")),
        ('metrics."e\u0301" = 1', metric("\u00e9")),
        ("metrics.größe = 1", metric("größe")),
        ("attributes.duration = 1", attribute("duration")),
        ("Duration = 1", attribute("duration")),
    ],
)
def test_names(text: str, target: object) -> None:
    assert read(text) == Comparison(target, Operator.EQ, 1.0)  # type: ignore[arg-type]  # parametrised


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("metrics.a = -1.5e-3", -0.0015),
        ("metrics.a = .5", 0.5),
        ("metrics.a = +7.", 7.0),
        ("metrics.a = -Infinity", float("-inf")),
        ("params.a = TRUE", True),
        ("params.a = 'it''s'", "it's"),
        ('params.a = "say ""hi"" \\n"', 'say "hi" \\n'),
        ("status = 'Completed'", "completed"),
        ("status = RUNNING", "running"),
        (f"id = '{RUN}'", Id(RUN)),
        (f"id = '{RUN[4:]}'", Id(RUN)),
        ("owner = 'ada@example.org'", "ada@example.org"),
        ("created = 1767225600123", datetime(2026, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)),
        ("created = '2026-01-01T02:00:00+02:00'", datetime(2026, 1, 1, tzinfo=UTC)),
        ("archived = false", False),
    ],
)
def test_values_have_the_type_of_what_they_are_compared_with(text: str, value: object) -> None:
    expression = read(text)
    assert isinstance(expression, Comparison)
    assert expression.value == value
    assert type(expression.value) is type(value)


def test_other_forms() -> None:
    assert read("tags.a IS NULL") == IsNull(tag("a"), negated=False)
    assert read("ended is not null") == IsNull(attribute("ended"), negated=True)
    assert read("metrics.a not in (1, NaN)") is not None
    assert read("name not ilike '%x%'") == Match(attribute("name"), Pattern.ILIKE, "%x%", negated=True)
    assert read("name matches '^a.b$'") == Match(attribute("name"), Pattern.MATCHES, "(?:^a[^\\n]b$)", negated=False)


def test_mentions_sees_every_depth() -> None:
    found = read("metrics.a > 1 or not (name = 'x' and archived = true)")
    assert found is not None
    assert mentions(found, "archived")
    assert not mentions(found, "status")


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("metrics.loss <", 15, "expected a number, got the end"),
        ("metrics.loss < 'x'", 16, "expected a number, got 'x'"),
        ("metrics.loss 0.1", 14, "expected ="),
        ("metrics.loss ~ 1", 14, "unexpected character"),
        ("loss < 1", 1, "unknown name 'loss'"),
        ("  foo.bar = 1", 3, "unknown name"),
        ("metrics. = 1", 1, "key of 1 to 250"),
        ('metrics."" = 1', 1, "key of 1 to 250"),
        ("status = 'done'", 10, "pending, running"),
        ("status < 'failed'", 8, "no order"),
        ("metrics.a < NaN", 11, "NaN has no order"),
        ("params.a > true", 10, "no order"),
        ("metrics.a = 1e999", 13, "fits a double"),
        ("metrics.a = 1x", 13, "unexpected character"),
        ("created > 'yesterday'", 11, "expected a time"),
        ("created > 1e30", 11, "year 9999"),
        ("archived = 1", 12, "true or false"),
        ("name = resnet", 8, "in quotes"),
        ("name = 'resnet", 8, "never closed"),
        ("name = null", 8, "is null"),
        ("name is 'x'", 9, "expected null"),
        ("name not = 'x'", 10, "after not"),
        ("name in 'x'", 9, "expected ("),
        ("name in ()", 10, "in quotes"),
        ("name in ('x' 'y')", 14, "expected , or )"),
        ("params.a in ('x', 1)", 19, "one kind"),
        ("metrics.a like '1%'", 11, "compares texts"),
        ("name like 5", 11, "quoted pattern"),
        ("name like 'x\\'", 11, "single backslash"),
        ("name matches 'a(b'", 16, "never closed"),
        ("name matches '(?=a)'", 15, "(?"),
        ("id = 'run_x'", 6, "32 hexadecimal"),
        (f"id = '{MODEL}'", 6, "a model"),
        ("(name = 'x'", 12, "column 1"),
        ("name = 'x')", 11, "and, or or the end"),
        ("name = 'x' name = 'y'", 12, "and, or or the end"),
        ("and", 1, "unknown name 'and'"),
        ("= 1", 1, "expected a name"),
        ("name = 'a\x00b'", 10, "NUL"),
        ("not", 4, "expected a name"),
    ],
)
def test_errors_name_the_column(text: str, column: int, words: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        read(text)
    assert refused.value.field == "filter"
    assert refused.value.message.startswith(f"column {column}: "), refused.value.message
    assert words in refused.value.message


def test_limits() -> None:
    with pytest.raises(BadUserInput, match=r"^column 4097: .*4096"):
        read("x" * 4_097)
    assert read("(" * 32 + "name = 'x'" + ")" * 32) is not None
    with pytest.raises(BadUserInput, match="deeper"):
        read("(" * 33 + "name = 'x'" + ")" * 33)
    with pytest.raises(BadUserInput, match="deeper"):
        read("not " * 200 + "name = 'x'")
    terms = " or ".join(["id is null"] * 100)
    assert read(terms) is not None
    with pytest.raises(BadUserInput, match="comparisons"):
        read(terms + " or id is null")
    with pytest.raises(BadUserInput, match="values"):
        read("metrics.a in (" + ",".join(["1"] * 501) + ")")


@settings(max_examples=400)
@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "metrics.",
                "params.a",
                "name",
                "status",
                "(",
                ")",
                "and",
                "or",
                "not",
                "in",
                "=",
                "<",
                "'x'",
                '"',
                "`",
                "1",
                ",",
                "is",
                "null",
                "like",
                "matches",
                "'('",
                "nan",
                "\\",
                "-",
                "tags.`k`",
                "created",
                "true",
            ]
        ),
        max_size=12,
    ).map(" ".join)
)
@example("metrics.a in (1,")
def test_any_text_is_read_or_refused_with_a_column_in_it(text: str) -> None:
    try:
        read(text)
    except BadUserInput as refused:
        column = re.match(r"column (\d+): ", refused.message)
        assert column is not None
        assert 1 <= int(column[1]) <= len(text) + 1


def test_a_single_name_for_orders() -> None:
    assert parse_target("metrics.`val loss`", RUN_VOCABULARY, field="order_by[0].field") == metric("val loss")
    with pytest.raises(BadUserInput) as refused:
        parse_target("created desc", RUN_VOCABULARY, field="order_by[0].field")
    assert refused.value.field == "order_by[0].field"


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^ab+c?$", "abb", True),
        ("^ab+c?$", "abbd", False),
        ("a|b|", "", True),
        ("(?:x(y|z)){2}", "xyxz", True),
        ("(?:x(y|z)){2}", "xyx", False),
        ("[a-c^]-[^0-9]", "^-x", True),
        ("[]x]", "a", None),
        (r"[\]x-]", "]", True),
        (r"\d{2,}\.\w\s", "a12.b c", True),
        ("a.c", "a\nc", False),
        ("(?i)ABC", "xabcx", True),
        ("a{2}", "aa", True),
        ("a{,2}", "aa", None),
        ("a{3,2}", "aa", None),
        ("a{101}", "aa", None),
        ("a{1000}", "aa", None),
        ("((a{50}){50})", "aa", None),
        ("a**", "aa", None),
        ("*a", "aa", None),
        (r"(a)\1", "aa", None),
        (r"\bx", "x", None),
        ("(?<=a)b", "ab", None),
        ("(?s)a", "a", None),
        ("[[:alpha:]]", "a", None),
        ("[z-a]", "a", None),
        (r"[\d-x]", "a", None),
        ("a)", "a", None),
        ("***=a", "a", None),
        ("x" * 251, "a", None),
        ("(" * 12 + ")" * 12, "a", None),
        ("a{9", "a", None),
    ],
)
def test_regular_expressions(pattern: str, text: str, found: bool | None) -> None:
    if found is None:
        with pytest.raises(PatternError):
            translate(pattern)
    else:
        assert (re.search(translate(pattern), text) is not None) is found


@pytest.mark.parametrize("count", ["101", "1000", "1,99999"])
def test_too_many_repetitions_name_the_limit(count: str) -> None:
    with pytest.raises(PatternError, match="from 0 to 100"):
        translate(f"a{{{count}}}")


@given(st.text(alphabet="ab.^$*+?{}()[]|\\-1,d", max_size=12))
def test_translated_patterns_are_valid_and_mean_the_same(pattern: str) -> None:
    try:
        translated = translate(pattern)
    except PatternError as error:
        assert 0 <= error.offset <= len(pattern)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of Python's plans for set operations
        for text in ("", "a", "ab", "ba1", "d-", "aab.", "b,1"):
            assert bool(re.search(translated, text)) == bool(re.search(pattern, text))
