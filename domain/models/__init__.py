"""Models and their versions: what they are, the rules they follow, and the use-cases of the registry.

A version's bytes never change and its number is never used twice.
"""

from domain.models.collector import BlobCollector
from domain.models.entities import (
    Model,
    ModelChanges,
    ModelFile,
    ModelVersion,
    ModelVersionStatus,
    NewVersion,
    VersionChanges,
    VersionDraft,
    download_url,
    numbered,
)
from domain.models.files import FileBytes, ModelFormat
from domain.models.ports import BlobStore, IncomingFile, ModelRepository, ReceivedFile
from domain.models.registry import Models
from domain.models.rules import FILTER

__all__ = [
    "FILTER",
    "BlobCollector",
    "BlobStore",
    "FileBytes",
    "IncomingFile",
    "Model",
    "ModelChanges",
    "ModelFile",
    "ModelFormat",
    "ModelRepository",
    "ModelVersion",
    "ModelVersionStatus",
    "Models",
    "NewVersion",
    "ReceivedFile",
    "VersionChanges",
    "VersionDraft",
    "download_url",
    "numbered",
]
