"""The GraphQL-over-HTTP audit of the reference implementation (`graphql-http` from npm), against the whole product."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from tests.support.product import Product

AUDIT = Path(__file__).parent.parent / "support" / "audit"
CHECKS = 61


async def _run(*command: str, folder: Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, complained = await process.communicate()
    return process.returncode or 0, said.decode(), complained.decode()


@pytest.fixture
async def installed(tmp_path: Path) -> Path:
    """A folder with the audit in it, at the versions of the lock file."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node")
    for name in ("audit.mjs", "package.json", "package-lock.json"):
        shutil.copy(AUDIT / name, tmp_path)
    install = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
    try:
        async with asyncio.timeout(90):
            status, _, complained = await _run(*install, folder=tmp_path)
    except TimeoutError:
        pytest.skip("npm does not reach its registry")
    if status:
        assert "EINTEGRITY" not in complained, complained
        pytest.skip(f"npm cannot install the audit: {complained.strip()[-200:]}")
    return tmp_path


async def test_every_check_of_the_audit_passes(installed: Path, product: Product) -> None:
    status, said, complained = await _run("node", "audit.mjs", product.graphql_url, product.token, folder=installed)
    assert status == 0, complained
    results = json.loads(said)
    assert [each for each in results if each["status"] != "ok"] == []
    assert len(results) == CHECKS
