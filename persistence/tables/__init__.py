"""The tables, one module per noun, as Tortoise row models. Only the repositories beside this package read them."""

from persistence.tables.audit import BY_HAND as _AUDIT

MODULES = (
    "persistence.tables.identity",
    "persistence.tables.factors",
    "persistence.tables.access",
    "persistence.tables.audit",
    "persistence.tables.experiments",
    "persistence.tables.runs",
    "persistence.tables.metrics",
    "persistence.tables.logs",
    "persistence.tables.models",
    "persistence.tables.endpoints",
    "persistence.tables.idempotency",
)

# SQL for what row models cannot declare, to be run after their tables are there.
BY_HAND = (_AUDIT,)
