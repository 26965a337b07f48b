"""The example frontend: installed from its lockfile and compiled, once, into a folder of its own."""

import os
import re
import shutil
import subprocess
from typing import NoReturn

import pytest

from node import EXAMPLE, Frontend

INSTALL = ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")


def without(reason: str) -> NoReturn:
    """Skip, saying why; where everything has to be tested, fail."""
    if os.environ.get("CONSUMER_TEST_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def frontend(tmp_path_factory: pytest.TempPathFactory) -> Frontend:
    if not shutil.which("npm") or not shutil.which("node"):
        without("npm is not installed")
    directory = tmp_path_factory.mktemp("frontend")
    for name in ("package.json", "package-lock.json", "tsconfig.json"):
        shutil.copy(EXAMPLE / name, directory)
    shutil.copytree(EXAMPLE / "src", directory / "src")
    try:
        installed = subprocess.run(INSTALL, cwd=directory, check=False, capture_output=True, text=True, timeout=100)
    except subprocess.TimeoutExpired:
        without("npm ci did not end within 100 seconds")
    if installed.returncode:
        without(f"npm ci failed: {' '.join(re.findall('npm error (.*)', installed.stderr))[:200]}")
    frontend = Frontend(directory)
    assert frontend.tsc() == ""
    return frontend
