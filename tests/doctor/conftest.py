"""The doctor's patients: a migrated database each, with local storage."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from patients import Patient
from postgres import Database
from workers import OURS


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no setting of ours."""
    for name in os.environ:
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def patient(db: Database) -> Iterator[Patient]:
    """A migrated database with local storage."""
    patient = Patient(db)
    yield patient
    patient.close()
