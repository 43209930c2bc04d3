"""Rows of inference endpoints and of the versions that take their traffic."""

from __future__ import annotations

from typing import Any

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class EndpointRow(Model):
    """A name that answers predictions. `host` names the server whose replicas serve it while it runs.

    `generation` grows with every change that must reach the replicas, so that the outcome of an overtaken change is
    never recorded. `pending` is what a running endpoint is to serve next; until it is loaded the rest describes what
    serves now.
    """

    id = fields.UUIDField(primary_key=True)
    workspace: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.WorkspaceRow", on_delete=fields.RESTRICT, related_name=False
    )
    owner: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.UserRow", on_delete=fields.RESTRICT, related_name=False
    )
    name = fields.CharField(max_length=128)
    status = fields.CharField(max_length=16)
    status_reason = fields.TextField(null=True)
    replicas = fields.IntField()
    config: fields.JSONField[dict[str, Any]] = fields.JSONField()
    generation = fields.BigIntField(default=1)
    pending: fields.JSONField[dict[str, Any] | None] = fields.JSONField(null=True)
    port = fields.IntField(null=True)
    host = fields.CharField(max_length=64, null=True)
    created_at = fields.DatetimeField()
    updated_at = fields.DatetimeField()

    class Meta:
        table = "endpoints"
        unique_together = (("workspace", "name"), ("host", "port"))
        indexes = (
            Index(fields=("workspace_id", "created_at", "id"), name="endpoints_page"),
            Index(fields=("owner_id", "created_at", "id"), name="endpoints_owner"),
        )


class EndpointTrafficRow(Model):
    """The share of an endpoint's traffic that one version takes; `failure` says why it takes none at present."""

    id = fields.BigIntField(primary_key=True)
    endpoint: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.EndpointRow", on_delete=fields.CASCADE, related_name=False
    )
    version: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.ModelVersionRow", on_delete=fields.RESTRICT, related_name=False
    )
    weight = fields.IntField()
    failure = fields.TextField(null=True)

    class Meta:
        table = "endpoint_traffic"
        unique_together = (("endpoint", "version"),)
        indexes = (Index(fields=("version_id",), name="endpoint_traffic_version"),)


class EndpointWarmUpRow(Model):
    """What loading a version at an endpoint cost the last time."""

    id = fields.BigIntField(primary_key=True)
    endpoint: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.EndpointRow", on_delete=fields.CASCADE, related_name=False
    )
    version: fields.ForeignKeyRelation[Model] = fields.ForeignKeyField(
        "axonml.ModelVersionRow", on_delete=fields.CASCADE, related_name=False
    )
    report: fields.JSONField[dict[str, Any]] = fields.JSONField()
    measured_at = fields.DatetimeField()

    class Meta:
        table = "endpoint_warm_ups"
        unique_together = (("endpoint", "version"),)
        indexes = (Index(fields=("version_id",), name="endpoint_warm_ups_version"),)


class ServingHostRow(Model):
    """A server that runs endpoints, and when it was last heard of. One that stops in order takes its row away."""

    name = fields.CharField(max_length=64, primary_key=True)
    seen_at = fields.DatetimeField()

    class Meta:
        table = "serving_hosts"
