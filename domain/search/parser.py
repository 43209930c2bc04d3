"""Reads tokens into the typed tree: recursive descent, bounded in depth, comparisons and values.

or         = and { "or" and }
and        = not { "and" not }
not        = "not" not | "(" or ")" | comparison
comparison = target ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
           | target ["not"] "in" "(" value { "," value } ")"
           | target ["not"] ( "like" | "ilike" | "matches" ) text
           | target "is" ["not"] "null"
"""

from __future__ import annotations

import unicodedata
from typing import Final

from domain.errors import BadUserInput
from domain.names import MAX_TEXT
from domain.search import regex
from domain.search.ast import (
    And,
    AttributeTarget,
    Comparison,
    Expression,
    IsNull,
    KeyTarget,
    Match,
    Membership,
    Not,
    Operator,
    Or,
    Pattern,
    Target,
    Value,
)
from domain.search.lexer import Token, TokenKind, refuse, tokens
from domain.search.values import check_operator, is_textual, read_value
from domain.search.vocabulary import ATTRIBUTE_PREFIXES, Vocabulary

MAX_DEPTH: Final = 32
MAX_TERMS: Final = 100
MAX_VALUES: Final = 500

_OPERATORS: Final = {operator.value: operator for operator in Operator}
_PATTERNS: Final = {pattern.value: pattern for pattern in Pattern}
_EXPECTED_OPERATOR: Final = "expected =, !=, <, <=, >, >=, in, like, ilike, matches or is"


def parse(text: str | None, vocabulary: Vocabulary, *, field: str = "filter") -> Expression | None:
    """The tree of a filter; None when there is no text, or only spaces.

    Raises BadUserInput whose message starts with the offending column, counted from 1.
    """
    if text is None or not text.strip():
        return None
    return _Parser(tokens(text, field=field), vocabulary, field).whole()


def parse_target(text: str, vocabulary: Vocabulary, *, field: str) -> Target:
    """What one name means, such as `created` or ``metrics.`val loss` ``: the same spelling as in filters."""
    found = tokens(text, field=field)
    parser = _Parser(found, vocabulary, field)
    target = parser.target()
    parser.expect_end()
    return target


class _Parser:
    def __init__(self, found: list[Token], vocabulary: Vocabulary, field: str) -> None:
        self.tokens = found
        self.vocabulary = vocabulary
        self.field = field
        self.place = 0
        self.terms = 0
        self.values = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.place]

    def advance(self) -> Token:
        token = self.token
        self.place += 1
        return token

    def take_word(self, word: str) -> bool:
        if self.token.is_word(word):
            self.place += 1
            return True
        return False

    def take_symbol(self, symbol: str) -> bool:
        if self.token.kind is TokenKind.SYMBOL and self.token.text == symbol:
            self.place += 1
            return True
        return False

    def refuse(self, message: str, token: Token | None = None) -> BadUserInput:
        return refuse(message, (token or self.token).column, field=self.field)

    def expect_end(self) -> None:
        if self.token.kind is not TokenKind.END:
            raise self.refuse(f"expected the end, got {self.token.shown()}")

    def whole(self) -> Expression:
        expression = self.alternatives(0)
        if self.token.kind is not TokenKind.END:
            raise self.refuse(f"expected and, or or the end of the filter, got {self.token.shown()}")
        return expression

    def alternatives(self, depth: int) -> Expression:
        terms = [self.conjunction(depth)]
        while self.take_word("or"):
            terms.append(self.conjunction(depth))
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def conjunction(self, depth: int) -> Expression:
        terms = [self.negation(depth)]
        while self.take_word("and"):
            terms.append(self.negation(depth))
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def negation(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise self.refuse(f"nested deeper than {MAX_DEPTH}")
        if self.take_word("not"):
            return Not(self.negation(depth + 1))
        opening = self.token
        if self.take_symbol("("):
            expression = self.alternatives(depth + 1)
            if not self.take_symbol(")"):
                raise self.refuse(
                    f"expected ) for the ( of column {opening.column}, or and/or, got {self.token.shown()}"
                )
            return expression
        return self.comparison()

    def comparison(self) -> Expression:
        self.terms += 1
        if self.terms > MAX_TERMS:
            raise self.refuse(f"more than {MAX_TERMS} comparisons")
        target = self.target()
        token = self.token
        if token.kind is TokenKind.SYMBOL and token.text in _OPERATORS:
            self.place += 1
            operator = _OPERATORS[token.text]
            value = self.value(target)
            check_operator(target, operator, value, token, self.field)
            return Comparison(target, operator, value)
        if self.take_word("is"):
            negated = self.take_word("not")
            if not self.take_word("null"):
                raise self.refuse(f"expected null, got {self.token.shown()}")
            return IsNull(target, negated)
        negated = self.take_word("not")
        if self.take_word("in"):
            return self.membership(target, negated)
        word = self.token.text.lower() if self.token.kind is TokenKind.WORD else ""
        if word in _PATTERNS:
            return self.match(target, _PATTERNS[word], negated)
        expected = "expected in, like, ilike or matches after not" if negated else _EXPECTED_OPERATOR
        raise self.refuse(f"{expected}, got {self.token.shown()}")

    def target(self) -> Target:
        token = self.advance()
        if token.kind is TokenKind.KEY:
            return self.keyed(token, token.text, token.key)
        if token.kind is not TokenKind.WORD:
            raise self.refuse(f"expected a name ({self.vocabulary.names()}), got {token.shown()}", token)
        head, dot, rest = token.text.partition(".")
        if dot and self.vocabulary.prefix(head) is not None:
            return self.keyed(token, head, unicodedata.normalize("NFC", rest))
        name = (rest if dot and head.lower() in ATTRIBUTE_PREFIXES else token.text).lower()
        attribute = self.vocabulary.attributes.get(name)
        if attribute is None:
            raise self.refuse(f"unknown name {token.shown()}; known: {self.vocabulary.names()}", token)
        return AttributeTarget(name, attribute)

    def keyed(self, token: Token, head: str, key: str) -> Target:
        prefix = self.vocabulary.prefix(head)
        if prefix is None:
            raise self.refuse(f"unknown name {token.shown()}; known: {self.vocabulary.names()}", token)
        if not 1 <= len(key) <= MAX_TEXT:
            raise self.refuse(f"expected a key of 1 to {MAX_TEXT} characters after '{prefix}.'", token)
        return KeyTarget(prefix, key, self.vocabulary.keyed[prefix])

    def value(self, target: Target) -> Value:
        token = self.advance()
        self.values += 1
        if self.values > MAX_VALUES:
            raise self.refuse(f"more than {MAX_VALUES} values", token)
        return read_value(target, token, self.field)

    def membership(self, target: Target, negated: bool) -> Membership:
        if not self.take_symbol("("):
            raise self.refuse(f"expected ( after in, got {self.token.shown()}")
        first = self.token
        values = [self.value(target)]
        check_operator(target, Operator.EQ, values[0], first, self.field)
        while self.take_symbol(","):
            place = self.token
            value = self.value(target)
            if type(value) is not type(values[0]):
                raise self.refuse("the values of one list must be of one kind", place)
            values.append(value)
        if not self.take_symbol(")"):
            raise self.refuse(f"expected , or ) in the list, got {self.token.shown()}")
        return Membership(target, tuple(values), negated)

    def match(self, target: Target, operator: Pattern, negated: bool) -> Match:
        word = self.advance()
        if not is_textual(target):
            raise self.refuse(f"{operator.value} compares texts, and this is none", word)
        token = self.advance()
        if token.kind is not TokenKind.TEXT:
            raise self.refuse(f"expected a quoted pattern after {operator.value}, got {token.shown()}", token)
        return Match(target, operator, self.pattern(operator, token), negated)

    def pattern(self, operator: Pattern, token: Token) -> str:
        text = token.text
        if operator is Pattern.MATCHES:
            try:
                return regex.translate(text)
            except regex.PatternError as error:
                raise refuse(str(error), token.column + 1 + error.offset, field=self.field) from None
        if len(text) > MAX_TEXT:
            raise self.refuse(f"a pattern has at most {MAX_TEXT} characters", token)
        backslashes = len(text) - len(text.rstrip("\\"))
        if backslashes % 2:
            raise self.refuse("a pattern cannot end with a single backslash", token)
        return text
