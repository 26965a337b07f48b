"""Engines are found by name, imported when asked for, and added by other packages."""

import subprocess
import sys
from pathlib import Path

import pytest

from consumer import engines
from consumer.engines.base import Options
from consumer.engines.sketch import SketchEngine
from consumer.errors import EngineUnusableError, UsageError

CPU = Options(device="cpu")
ENGINE = """
from consumer.engines.base import Engine


class Other(Engine):
    def load(self, model): ...
    def generate(self, request, indexes, on_step): yield from ()
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """An installed package `other_engines`, of the given source, that adds the given entry points."""
    source, entry_points = request.param
    (tmp_path / "other_engines.py").write_text(source)
    info = tmp_path / "other_engines-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-engines\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[consumer.engines]\n{entry_points}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "other_engines", raising=False)


def test_the_built_in_engines_are_known_by_name():
    assert engines.names()[:3] == ("sketch", "sdxl", "wan")


def test_an_engine_is_made_with_its_model_and_device():
    engine = engines.create("sketch", "a model", CPU)
    assert isinstance(engine, SketchEngine)
    assert (engine.model, engine.device) == ("a model", "cpu")


def test_an_unknown_engine_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"'skech'; there are: sketch, sdxl"):
        engines.create("skech", "", CPU)


@pytest.mark.parametrize("plugin", [(ENGINE, "other = other_engines:Other")], indirect=True)
def test_another_package_can_add_an_engine(plugin):
    assert "other" in engines.names()
    assert "other" in engines.available()
    assert type(engines.create("other", "", CPU)).__name__ == "Other"


@pytest.mark.parametrize("plugin", [(ENGINE, "sketch = other_engines:Other")], indirect=True)
def test_another_package_cannot_take_over_a_built_in_name(plugin):
    assert engines.names().count("sketch") == 1
    assert isinstance(engines.create("sketch", "", CPU), SketchEngine)


@pytest.mark.parametrize("plugin", [("import no_such_module", "other = other_engines:Other")], indirect=True)
def test_an_engine_that_cannot_be_imported_is_named_with_the_missing_module_and_passed_over(plugin):
    with pytest.raises(EngineUnusableError, match="other needs the module no_such_module"):
        engines.create("other", "", CPU)
    assert "other" in engines.names()
    assert "other" not in engines.available()
    assert "sketch" in engines.available()


NEEDY = ENGINE.replace("    def load", "    requires = ('no_such_module', 'json')\n    def load", 1)


@pytest.mark.parametrize("plugin", [(NEEDY, "other = other_engines:Other")], indirect=True)
def test_an_engine_whose_modules_are_not_installed_says_what_to_install(plugin):
    assert engines.missing("other") == ("no_such_module",)
    assert "other" not in engines.available()
    with pytest.raises(EngineUnusableError, match=r"needs no_such_module.*pip install 'consumer\[gpu\]'"):
        engines.create("other", "", CPU)


@pytest.mark.parametrize("plugin", [("class Other: ...", "other = other_engines:Other")], indirect=True)
def test_a_class_that_is_no_engine_is_refused(plugin):
    with pytest.raises(UsageError, match="no subclass of"):
        engines.create("other", "", CPU)


@pytest.mark.parametrize(
    ("imports", "unwanted"),
    [
        ("consumer.engines", {"torch", "PIL", "consumer.engines.sketch"}),
        ("consumer.engines.sketch", {"torch", "av", "diffusers"}),
    ],
)
def test_importing_the_registry_or_sketch_imports_nothing_heavy(imports, unwanted):
    code = f"import sys, {imports}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert imports in loaded
    assert unwanted.isdisjoint(loaded)
