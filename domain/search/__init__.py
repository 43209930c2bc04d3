"""The search language of lists: `metrics.loss < 0.1 and not status = "failed"`.

A text is parsed against a `Vocabulary` (what may be named in this list) into a typed tree that `persistence.search`
compiles to SQL parameters. Nothing of the text itself ever reaches SQL, and nothing here knows any table.

Meaning, where SQL leaves room: a comparison with a missing value is false, whatever the operator (`not` of it is
true); a stored NaN is unequal to every number and neither below nor above any; `= NaN` finds it. Text is compared by
code point. In quoted text the quote is written twice; a backslash stands for itself.
"""

from domain.search.ast import (
    And,
    AttributeTarget,
    Comparison,
    Expression,
    Id,
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
    mentions,
)
from domain.search.parser import parse, parse_target
from domain.search.vocabulary import Attribute, AttributeKind, KeyedKind, Vocabulary

__all__ = [
    "And",
    "Attribute",
    "AttributeKind",
    "AttributeTarget",
    "Comparison",
    "Expression",
    "Id",
    "IsNull",
    "KeyTarget",
    "KeyedKind",
    "Match",
    "Membership",
    "Not",
    "Operator",
    "Or",
    "Pattern",
    "Target",
    "Value",
    "Vocabulary",
    "mentions",
    "parse",
    "parse_target",
]
