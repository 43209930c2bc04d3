"""Experiments over REST."""

from __future__ import annotations

from server.rest.operations.common import EXPERIMENT_ID, FILTER, PAGE
from server.rest.route import Operation, json_answer, json_body
from server.rest.structs.training import Experiment, ExperimentCreate, ExperimentList

EXPERIMENT_LIST = Operation(
    method="get",
    path="/api/experiments",
    operation_id="experiments",
    tag="experiments",
    summary="List experiments",
    description="The living experiments of the workspace, newest first.",
    params=(FILTER, *PAGE),
    answers={200: json_answer(ExperimentList, "A page of experiments.")},
)
EXPERIMENT_CREATE = Operation(
    method="post",
    path="/api/experiments",
    operation_id="experimentCreate",
    tag="experiments",
    summary="Make an experiment",
    description="Makes an experiment. A name that a living experiment of the workspace has is a conflict.",
    request=json_body(ExperimentCreate, "The experiment to make."),
    answers={201: json_answer(Experiment, "The new experiment.")},
    errors=(409,),
    idempotent=True,
)
EXPERIMENT_GET = Operation(
    method="get",
    path="/api/experiments/{id}",
    operation_id="experiment",
    tag="experiments",
    summary="Get an experiment",
    description="One experiment, archived or not.",
    params=(EXPERIMENT_ID,),
    answers={200: json_answer(Experiment, "The experiment.")},
)

OPERATIONS = (EXPERIMENT_LIST, EXPERIMENT_CREATE, EXPERIMENT_GET)
