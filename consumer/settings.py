"""The environment, or a `.env` in the working directory, as one frozen Settings. Secrets never print."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from consumer.errors import UsageError
from consumer.events import Log
from consumer.limits import limits

DSN = re.compile(r"postgres(ql)?://|\w+\s*=")
DSN_WORDS = "a connection string like postgresql://user:password@host:5432/postgres"
PHASE_SECONDS: Mapping[str, float] = {
    "load": 1800.0, "enhance": 300.0, "compile": 1800.0, "encode": 300.0, "step": 600.0, "decode": 900.0
}  # fmt: skip


def listen_url_of(data: Mapping[str, Any]) -> SecretStr | None:
    """LISTEN goes where the queries go, unless another address is set."""
    url: SecretStr | None = data["database_url"]
    return url


def storage_of(data: Mapping[str, Any]) -> Literal["supabase", "local"]:
    """A bucket where there is a Supabase project, else a folder."""
    return "supabase" if data["supabase_url"] else "local"


def upload_seconds_of(data: Mapping[str, Any]) -> float:
    """20 seconds, or half of a short lease."""
    return min(20.0, float(data["lease_seconds"]) / 2)


class Settings(BaseSettings):
    """Every setting, once; .env.example tells what each is for. Times are in seconds."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix="CONSUMER_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    database_url: SecretStr | None = Field(None, validation_alias="DATABASE_URL", description=DSN_WORDS)
    listen_url: SecretStr | None = Field(default_factory=listen_url_of, description=DSN_WORDS)
    supabase_url: str | None = Field(
        None,
        validation_alias="SUPABASE_URL",
        pattern=r"^https?://[^/\s]+",
        description="an address like https://project.supabase.co",
    )
    supabase_secret_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY")
    )
    database_role: str | None = Field(None, pattern=r"^[a-z_][a-z0-9_]{0,62}$", description="the name of a role")
    password_seconds: float = Field(150.0, ge=1, le=86400)
    probe_seconds: float = Field(30.0, ge=0.5, le=3600)
    storage: Literal["supabase", "local"] = Field(default_factory=storage_of)
    storage_dir: Path = Path("storage")
    bucket: str = Field("workspace-temp", pattern=r"^[\w.-]{1,63}$", description="up to 63 of a-z, 0-9, -, . and _")
    engines: Annotated[tuple[Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")], ...], NoDecode] = Field(
        (), description="names of engines, separated by commas"
    )
    job_types: Path | None = None
    model_sdxl: str = ""
    model_wan: str = ""
    model_wan_i2v: str = ""
    model_enhance: str = ""
    model_enhance_base: str = ""
    lora_dir: Path | None = None
    device: str = Field("auto", pattern=r"^[a-z]+(:\d+)?$", description="auto, cpu, cuda, or one like cuda:1")
    vram_gb: float | None = Field(None, ge=0.001, le=10000)
    ram_gb: float | None = Field(None, ge=0.001, le=10000)
    offload: Literal["auto", "none", "model", "group"] = "auto"
    vae_tiling: Literal["auto", "on", "off"] = "auto"
    speed: Literal["default", "fast"] = "default"
    preload: str = Field("auto", pattern=r"^[a-z0-9_]{1,64}$", description="auto, none, or the name of an engine")
    affinity_seconds: float = Field(30.0, ge=0, le=3600)
    enhance_seconds: float = Field(60.0, ge=1, le=3600)
    enhance_tokens: int = Field(200, ge=16, le=2000)
    phase_seconds: Annotated[Mapping[str, float], NoDecode] = Field(
        PHASE_SECONDS, description="like step=60,decode=600, each from 0.1 to 86400: " + ", ".join(PHASE_SECONDS)
    )
    max_failures: int = Field(5, ge=1, le=1000)
    lease_seconds: float = Field(45.0, ge=2, le=3600)
    upload_seconds: float = Field(default_factory=upload_seconds_of, ge=0.1, le=3600)
    sweep_seconds: float = Field(15.0, ge=0.1, le=3600)
    grace_seconds: float = Field(25.0, ge=0, le=3600)
    max_attempts: int = Field(3, ge=1, le=100)
    claim_batch: int = Field(1, ge=1, le=256)
    priority_seconds: float = Field(60.0, ge=0, le=3600)
    max_memory_gb: float | None = Field(None, ge=0.01, le=10000)
    notice_file: Path | None = None
    notice_url: str | None = Field(None, pattern=r"^https?://[^/\s]+", description="an address like http://host/path")
    log: Log = "auto"
    health_file: Path | None = None

    @field_validator("database_url", "listen_url")
    @classmethod
    def is_dsn(cls, url: SecretStr | None) -> SecretStr | None:
        """Tell an https address of the project, the usual mistake, from a connection string."""
        if url is not None and not DSN.match(url.get_secret_value()):
            raise ValueError
        return url

    @field_validator("supabase_secret_key", "database_url", "listen_url", "supabase_url", mode="before")
    @classmethod
    def strip(cls, text: Any) -> Any:
        """What was pasted often ends with a space or a line break."""
        return text.strip() if isinstance(text, str) else text

    @field_validator("engines", mode="before")
    @classmethod
    def split(cls, engines: Any) -> Any:
        """`sdxl, wan` as a tuple."""
        if isinstance(engines, str):
            return tuple(name.strip() for name in engines.split(",") if name.strip())
        return engines

    @field_validator("phase_seconds", mode="before")
    @classmethod
    def split_phases(cls, phases: Any) -> Any:
        """`step=60, decode=600` over the defaults."""
        if not isinstance(phases, str):
            return phases
        pairs = [pair.split("=") for pair in phases.split(",") if pair.strip()]
        given = {phase.strip(): float(seconds) for phase, seconds in pairs}
        if given.keys() - PHASE_SECONDS.keys() or not all(0.1 <= seconds <= 86400 for seconds in given.values()):
            raise ValueError
        return {**PHASE_SECONDS, **given}

    @field_validator("storage")
    @classmethod
    def has_project(cls, storage: str, info: ValidationInfo) -> str:
        """A bucket is in a project."""
        if storage == "supabase" and info.data.get("supabase_url", "wrong") is None:
            raise PydanticCustomError("pair", "CONSUMER_STORAGE is supabase, so SUPABASE_URL must be set too.")
        return storage

    @field_validator("upload_seconds")
    @classmethod
    def is_shorter_than_lease(cls, seconds: float, info: ValidationInfo) -> float:
        """An upload that outlives the lease could overwrite what another worker stored."""
        if seconds >= info.data.get("lease_seconds", math.inf):
            raise PydanticCustomError("pair", "CONSUMER_UPLOAD_SECONDS must be less than CONSUMER_LEASE_SECONDS.")
        return seconds

    @property
    def models(self) -> Mapping[str, str]:
        """The model of each engine; "" stands for the engine's own default."""
        return {"sdxl": self.model_sdxl, "wan": self.model_wan, "enhance": self.model_enhance}

    @property
    def further_models(self) -> Mapping[str, str]:
        """Models beside these, by the name of the setting without `model_`; those that are not set are absent."""
        further = {"wan_i2v": self.model_wan_i2v, "enhance_base": self.model_enhance_base}
        return {name: model for name, model in further.items() if model}

    @property
    def stand_in(self) -> bool:
        """Whether sketch takes every job type: where it was named and nothing else was."""
        return self.engines == ("sketch",)

    def require_database_url(self) -> str:
        """The connection string, secrets included; raises UsageError where there is none."""
        if self.database_url is None:
            raise UsageError(
                "DATABASE_URL is not set: set it in the environment or in .env, or run `consumer demo`, "
                "which brings its own database."
            )
        return self.database_url.get_secret_value()


def variables(field: str) -> list[str]:
    """The environment variables that set `field`, the preferred one first."""
    match Settings.model_fields[field].validation_alias:
        case AliasChoices(choices=choices):
            return [str(choice) for choice in choices]
        case str(alias):
            return [alias]
    return [f"CONSUMER_{field.upper()}"]


def load_settings(**overrides: Any) -> Settings:
    """The settings, with those of `overrides` that are not None in their place.

    Raises UsageError with one line for each mistake; no line quotes a value.
    """
    try:
        return Settings(**{field: value for field, value in overrides.items() if value is not None})
    except ValidationError as error:
        lines = [mistake(problem) for problem in error.errors() if problem["type"] != "default_factory_not_called"]
    raise UsageError("\n".join(dict.fromkeys(lines)))


def mistake(problem: ErrorDetails) -> str:
    """One of pydantic's findings, with the environment variable and the limit."""
    if problem["type"] == "pair":
        return problem["msg"]
    place = problem["loc"][0]
    field = next(field for field in Settings.model_fields if place in (field, *variables(field)))
    return f"{variables(field)[0]} must be {limits(Settings)[field]}."
