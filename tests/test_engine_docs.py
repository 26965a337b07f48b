"""docs/engines.md says what the code does."""

import re

from consumer.engines.schedulers import SCHEDULERS
from consumer.fields import Fields
from engine_tables import MEANING, PAGE, written


def test_the_tables_are_what_the_models_say() -> None:
    assert PAGE.read_text() == written(PAGE.read_text()), "run `make docs`"


def test_every_field_is_told_of_and_no_other() -> None:
    assert set(MEANING) == set(Fields.model_fields)


def test_every_scheduler_is_named() -> None:
    [section] = re.findall(r"^## Schedulers$(.*?)^## ", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) >= set(SCHEDULERS)
