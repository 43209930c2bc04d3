"""Runs: what a run is, how it lives, how runs are listed, and the use-cases that change them."""

from __future__ import annotations

from domain.runs.entity import ENDED, Moment, Run, RunStatus
from domain.runs.feed import RunChange, RunChangeKind
from domain.runs.listing import (
    RUN_VOCABULARY,
    RunListing,
    RunOrder,
    RunParents,
    RunsRequest,
    SortKey,
)
from domain.runs.ports import ExperimentChoice, NewRun, RunRepository
from domain.runs.sweeper import PurgeSweeper
from domain.runs.use_cases import Runs
from domain.runs.values import Param, Tag, make_params, make_tags

__all__ = [
    "ENDED",
    "RUN_VOCABULARY",
    "ExperimentChoice",
    "Moment",
    "NewRun",
    "Param",
    "PurgeSweeper",
    "Run",
    "RunChange",
    "RunChangeKind",
    "RunListing",
    "RunOrder",
    "RunParents",
    "RunRepository",
    "RunStatus",
    "Runs",
    "RunsRequest",
    "SortKey",
    "Tag",
    "make_params",
    "make_tags",
]
