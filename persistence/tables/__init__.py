"""The tables, one module per noun, as Tortoise row models. Only the repositories beside this package read them."""

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
