"""Endpoints: names that answer predictions, their life, and the predictions themselves."""

from domain.endpoints.entities import (
    ConfigChanges,
    Deployment,
    Endpoint,
    EndpointConfig,
    EndpointStatus,
    EndpointTraffic,
    Prediction,
    PredictionRequest,
    Route,
    ServedVersion,
)
from domain.endpoints.operator import EndpointOperator
from domain.endpoints.ports import EndpointHosting, EndpointRepository, EndpointRunner, RouteWatcher
from domain.endpoints.predictions import Predictor
from domain.endpoints.service import Endpoints

__all__ = [
    "ConfigChanges",
    "Deployment",
    "Endpoint",
    "EndpointConfig",
    "EndpointHosting",
    "EndpointOperator",
    "EndpointRepository",
    "EndpointRunner",
    "EndpointStatus",
    "EndpointTraffic",
    "Endpoints",
    "Prediction",
    "PredictionRequest",
    "Predictor",
    "Route",
    "RouteWatcher",
    "ServedVersion",
]
