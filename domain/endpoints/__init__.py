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
    RoutedVersion,
    ServedVersion,
)
from domain.endpoints.listening import PortRange, Room, keeps_port, wanted_port
from domain.endpoints.operator import EndpointOperator
from domain.endpoints.ports import EndpointHosting, EndpointRepository, EndpointRunner, Listeners, RouteWatcher
from domain.endpoints.predictions import Predictor
from domain.endpoints.service import Endpoints
from domain.endpoints.traffic import ordered

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
    "Listeners",
    "PortRange",
    "Prediction",
    "PredictionRequest",
    "Predictor",
    "Room",
    "Route",
    "RouteWatcher",
    "RoutedVersion",
    "ServedVersion",
    "keeps_port",
    "ordered",
    "wanted_port",
]
