"""Rows of the audit log: appended in the transaction of what they tell, chained by hash afterwards, never changed."""

from __future__ import annotations

from typing import Final

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class AuditEventRow(Model):
    """What somebody did or tried. Refers to nothing by foreign key: it outlives everything it names.

    `seq` and `hash` are null until the sealer has put the row into the chain. `others` are further objects of a change
    of several.
    """

    id = fields.UUIDField(primary_key=True)
    at = fields.DatetimeField()
    action = fields.CharField(max_length=64)
    outcome = fields.CharField(max_length=32)
    actor_id = fields.UUIDField(null=True)
    session_id = fields.UUIDField(null=True)
    api_key_id = fields.UUIDField(null=True)
    workspace_id = fields.UUIDField(null=True)
    resource = fields.CharField(max_length=64, null=True)
    others: fields.JSONField[list[str]] = fields.JSONField(null=True)
    address = fields.CharField(max_length=64, null=True)
    request_id = fields.CharField(max_length=64)
    seq = fields.BigIntField(null=True, unique=True)
    hash = fields.BinaryField(null=True)

    class Meta:
        table = "audit_events"
        indexes = (
            Index(fields=("at", "id"), name="audit_events_time"),
            Index(fields=("actor_id", "at"), name="audit_events_actor"),
        )


# What Tortoise cannot declare. Whoever owns the table can take the triggers away: then the chain tells.
BY_HAND: Final = """
CREATE INDEX audit_events_unsealed ON audit_events (at, id) WHERE seq IS NULL;
CREATE FUNCTION audit_events_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.seq IS NULL AND OLD.hash IS NULL AND NEW.seq IS NOT NULL AND NEW.hash IS NOT NULL
       AND to_jsonb(NEW) - 'seq' - 'hash' = to_jsonb(OLD) - 'seq' - 'hash' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'rows of the audit log are neither changed nor removed';
END $$;
CREATE TRIGGER audit_events_rows BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_events_append_only();
CREATE TRIGGER audit_events_whole BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_append_only();
"""
