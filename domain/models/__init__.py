"""Models and their versions: what they are, the rules they follow, and the use-cases of the registry.

A version's bytes never change and its number is never used twice.
"""

from domain.models.at_rest import FileBytes
from domain.models.collector import BlobCollector
from domain.models.entities import (
    ExtraFile,
    Model,
    ModelChanges,
    ModelFile,
    ModelVersion,
    ModelVersionStatus,
    NewVersion,
    Upload,
    VersionChanges,
    VersionDraft,
    download_url,
    file_url,
    numbered,
)
from domain.models.extras import ModelFiles
from domain.models.files import ModelFormat
from domain.models.ports import (
    BlobStore,
    FileRepository,
    IncomingFile,
    ModelRepository,
    ReceivedFile,
    ResumedFile,
    UploadRepository,
)
from domain.models.quotas import UNBOUNDED, Quotas
from domain.models.registry import Models
from domain.models.rules import FILTER
from domain.models.uploads import Piece, Progress, UploadCollector, Uploads, WrongOffset

__all__ = [
    "FILTER",
    "UNBOUNDED",
    "BlobCollector",
    "BlobStore",
    "ExtraFile",
    "FileBytes",
    "FileRepository",
    "IncomingFile",
    "Model",
    "ModelChanges",
    "ModelFile",
    "ModelFiles",
    "ModelFormat",
    "ModelRepository",
    "ModelVersion",
    "ModelVersionStatus",
    "Models",
    "NewVersion",
    "Piece",
    "Progress",
    "Quotas",
    "ReceivedFile",
    "ResumedFile",
    "Upload",
    "UploadCollector",
    "UploadRepository",
    "Uploads",
    "VersionChanges",
    "VersionDraft",
    "WrongOffset",
    "download_url",
    "file_url",
    "numbered",
]
