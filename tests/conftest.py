"""Fixtures every layer may use, and the hooks that keep a run honest and clean up after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings as hypothesis_settings

from persistence.database import Database
from tests.support.clusters import Cluster, Clusters, begin_run, end_run
from tests.support.skips import SkipGuard

if TYPE_CHECKING:
    from tests.support.product import Product

RELEASES = ("18", "16", "machine")
# A busy machine is no defect: how long one example takes is not judged.
hypothesis_settings.register_profile("axonml", deadline=None)
hypothesis_settings.load_profile("axonml")

_clusters = pytest.StashKey[Clusters]()


def _controls_the_run(config: pytest.Config) -> bool:
    return not hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_clusters] = Clusters()
    if _controls_the_run(config):
        begin_run()
        config.pluginmanager.register(SkipGuard())


def pytest_unconfigure(config: pytest.Config) -> None:
    if _controls_the_run(config):
        end_run()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("postgres_matrix") and "postgres_cluster" in metafunc.fixturenames:
        metafunc.parametrize("postgres_cluster", RELEASES, indirect=True, scope="session")


@pytest.fixture(scope="session")
def postgres_cluster(request: pytest.FixtureRequest) -> Cluster:
    """A running PostgreSQL, shared by the whole run: the bundled 18, or what `postgres_matrix` asks for."""
    try:
        return request.config.stash[_clusters].get(getattr(request, "param", RELEASES[0]))
    except LookupError as error:
        pytest.skip(str(error))


@pytest.fixture
def database_url(postgres_cluster: Cluster) -> Iterator[str]:
    """The URL of a database with our tables that only this test uses."""
    url = postgres_cluster.create()
    yield url
    postgres_cluster.drop(url)


@pytest.fixture
def empty_database_url(postgres_cluster: Cluster) -> Iterator[str]:
    """The URL of a database without any table that only this test uses."""
    url = postgres_cluster.create(migrated=False)
    yield url
    postgres_cluster.drop(url)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open pool on `database_url`."""
    async with Database(database_url) as opened:
        yield opened


@pytest.fixture
async def product(database_url: str) -> AsyncIterator[Product]:
    """The whole product on a database of its own, with an administrator signed in."""
    from tests.support.product import running

    async with running(database_url) as served:
        yield served
