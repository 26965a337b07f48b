"""A worker starts in a moment, because nothing heavy is imported before an engine needs it."""

import subprocess
import sys

import pytest

HEAVY = ["torch", "diffusers", "transformers", "supabase", "httpx", "alembic", "sqlalchemy", "av", "rich"]


@pytest.mark.parametrize("module", ["consumer.worker", "consumer.cli.run", "consumer.engines.sdxl"])
def test_nothing_heavy_is_imported(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
