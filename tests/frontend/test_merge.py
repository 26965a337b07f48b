"""What a frontend holds after changes that come late, twice or not at all: merge.test.mjs, under Node."""

import re
import subprocess

import pytest

from node import Frontend

pytestmark = pytest.mark.npm


def test_news_are_merged_as_the_example_promises(frontend: Frontend) -> None:
    command = frontend.command("merge.test.mjs", "--test", "--test-reporter=tap")
    done = subprocess.run(command, cwd=frontend.directory, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"^# pass (\d+)", done.stdout, re.M)[0]) >= 16, "the tests were found and run"
