"""Which engines there are, by name. Nothing is imported before it is asked for.

Other packages add engines through the entry-point group `consumer.engines`: a name, and the `module:Class` of
a subclass of `consumer.engines.base.Engine`.
"""

from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec

from consumer.engines.base import Engine, Options
from consumer.engines.residency import Residency
from consumer.errors import EngineUnusableError, UsageError
from consumer.settings import Settings

GROUP = "consumer.engines"

BUILT_IN = (
    EntryPoint("sketch", "consumer.engines.sketch:SketchEngine", GROUP),
    EntryPoint("sdxl", "consumer.engines.sdxl:SdxlEngine", GROUP),
    EntryPoint("wan", "consumer.engines.wan:WanEngine", GROUP),
)


def names() -> tuple[str, ...]:
    """The engines that can be named: the built-in ones first, then those of other packages."""
    return tuple(_known())


def available() -> tuple[str, ...]:
    """The engines whose modules are installed here; one that cannot be imported is passed over."""
    usable = []
    for name in names():
        with suppress(EngineUnusableError):
            usable += [name] if not missing(name) else []
    return tuple(usable)


def missing(name: str) -> tuple[str, ...]:
    """The modules that the engine `name` needs and that are not installed; none of them is imported."""
    return tuple(module for module in _class_of(name).requires if find_spec(module) is None)


def create(name: str, model: str, options: Options, residency: Residency | None = None) -> Engine:
    """A new engine, not yet loaded; the parameters are those of `Engine.__init__`.

    Raises UsageError for an unknown name, EngineUnusableError where a module cannot be imported."""
    if absent := missing(name):
        raise EngineUnusableError(
            f"The engine {name} needs {', '.join(absent)}, not installed here; try: pip install 'consumer[gpu]'"
        )
    return _class_of(name)(model, options, residency)


def options_of(settings: Settings) -> Options:
    """What the settings say to all engines."""
    return Options(
        device=settings.device,
        vram_gb=settings.vram_gb,
        ram_gb=settings.ram_gb,
        offload=settings.offload,
        vae_tiling=settings.vae_tiling,
        speed=settings.speed,
        lora_dir=settings.lora_dir,
        enhance_seconds=settings.enhance_seconds,
        enhance_tokens=settings.enhance_tokens,
        models=settings.further_models,
    )


def _class_of(name: str) -> type[Engine]:
    entry = _known().get(name)
    if entry is None:
        raise UsageError(f"There is no engine named {name!r}; there are: {', '.join(names())}.")
    try:
        found = entry.load()
    except ImportError as error:
        raise EngineUnusableError(
            f"The engine {name} needs the module {error.name or entry.module}, which cannot be imported."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Engine)):
        raise UsageError(f"The engine {name} ({entry.value}) is no subclass of consumer.engines.base.Engine.")
    return found


def _known() -> dict[str, EntryPoint]:
    """By name; a built-in name cannot be taken over."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    built_in = {entry.name: entry for entry in BUILT_IN}
    return built_in | {name: found[name] for name in sorted(found) if name not in built_in}
