"""Settings from the environment or a .env: defaults, limits, mistakes, secrets."""

import os
import re
from pathlib import Path

import pytest

from consumer.errors import UsageError
from consumer.settings import Settings, load_settings, variables

EXAMPLE = Path(__file__).parent.parent / ".env.example"
DSN = "postgresql://worker:hunter2@db.example.com:5432/postgres"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the environment nor a .env of the machine counts."""
    for name in os.environ:
        if name.upper().startswith(("CONSUMER_", "SUPABASE_", "DATABASE_URL")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def refusal(**overrides: object) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load_settings(**overrides)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return str(caught.value).splitlines()


def documented() -> dict[str, str]:
    """What .env.example shows: each variable with its default."""
    found = re.findall(r"^#([A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    assert len(found) == len(dict(found))
    return dict(found)


def test_every_setting_is_in_the_example_and_nothing_else_is():
    assert set(documented()) == {variables(field)[0] for field in Settings.model_fields}


def test_the_defaults_in_the_example_are_those_of_the_code():
    shown = "\n".join(f"{name}={value}" for name, value in documented().items())
    Path("shown.env").write_text(shown)
    assert load_settings(_env_file="shown.env") == load_settings()


def test_defaults_that_differ_from_the_example_would_be_noticed():
    Path("shown.env").write_text("CONSUMER_SWEEP_SECONDS=16")
    assert load_settings(_env_file="shown.env") != load_settings()


def test_every_setting_in_the_example_has_a_comment():
    blocks = EXAMPLE.read_text().split("\n\n")
    for block in (block for block in blocks if re.search(r"^#[A-Z0-9_]+=", block, re.MULTILINE)):
        assert block.startswith("# ")


def test_settings_come_from_the_environment(monkeypatch):
    for name, value in {
        "DATABASE_URL": DSN,
        "CONSUMER_ENGINES": "sdxl, wan,",
        "CONSUMER_MODEL_SDXL": "tiny",
        "CONSUMER_LEASE_SECONDS": "7.5",
        "CONSUMER_MAX_ATTEMPTS": "5",
        "CONSUMER_JOB_TYPES": "own.toml",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.require_database_url() == DSN
    assert settings.engines == ("sdxl", "wan")
    assert settings.models == {"sdxl": "tiny", "wan": "", "enhance": ""}
    assert (settings.lease_seconds, settings.max_attempts, settings.job_types) == (7.5, 5, Path("own.toml"))


def test_settings_come_from_a_dot_env_that_may_hold_more():
    Path(".env").write_text("CONSUMER_BUCKET=results\nSOMETHING_ELSE=1\nCONSUMER_DEVICE=\n")
    settings = load_settings()
    assert (settings.bucket, settings.device) == ("results", "auto")


def test_the_environment_goes_before_the_dot_env_and_an_option_before_both(monkeypatch):
    Path(".env").write_text("CONSUMER_BUCKET=from-file\nCONSUMER_DEVICE=cpu\nCONSUMER_ENGINES=wan")
    monkeypatch.setenv("CONSUMER_BUCKET", "from-environment")
    monkeypatch.setenv("CONSUMER_ENGINES", "sdxl")
    settings = load_settings(engines="sketch", device=None)
    assert (settings.bucket, settings.device, settings.engines) == ("from-environment", "cpu", ("sketch",))


@pytest.mark.parametrize("name", ["SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY"])
def test_either_name_of_the_secret_key_works(monkeypatch, name):
    monkeypatch.setenv(name, "sb_secret_hunter2")
    key = load_settings().supabase_secret_key
    assert key is not None
    assert key.get_secret_value() == "sb_secret_hunter2"


def test_what_was_pasted_with_a_line_break_is_taken_without_it(monkeypatch):
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_hunter2\n")
    monkeypatch.setenv("DATABASE_URL", f" {DSN}\n")
    settings = load_settings()
    assert settings.supabase_secret_key is not None
    assert settings.supabase_secret_key.get_secret_value() == "sb_secret_hunter2"
    assert settings.require_database_url() == DSN


@pytest.mark.parametrize(
    ("overrides", "storage"),
    [
        ({}, "local"),
        ({"supabase_url": "https://project.supabase.co"}, "supabase"),
        ({"supabase_url": "https://project.supabase.co", "storage": "local"}, "local"),
    ],
)
def test_results_go_to_the_project_where_there_is_one(overrides, storage):
    assert load_settings(**overrides).storage == storage


def test_listen_uses_the_database_url_unless_it_has_its_own():
    other = DSN.replace("5432", "6543")
    same, own = load_settings(database_url=DSN), load_settings(database_url=other, listen_url=DSN)
    assert same.listen_url is not None
    assert same.listen_url.get_secret_value() == DSN
    assert own.listen_url is not None
    assert own.listen_url.get_secret_value() == DSN


@pytest.mark.parametrize(("lease", "upload"), [(45, 20), (40, 20), (30, 15), (2, 1)])
def test_an_upload_gets_less_time_than_the_lease(lease, upload):
    assert load_settings(lease_seconds=lease).upload_seconds == upload


@pytest.mark.parametrize(
    ("engines", "stand_in"), [("sketch", True), ("sketch,sdxl", False), ("", False), ("sdxl", False)]
)
def test_sketch_stands_in_only_where_it_alone_was_named(engines, stand_in):
    assert load_settings(engines=engines).stand_in == stand_in


@pytest.mark.parametrize("dsn", [DSN, DSN.replace("postgresql", "postgres"), "host=/tmp dbname=postgres"])
def test_a_url_and_a_conninfo_string_are_both_connection_strings(dsn):
    assert load_settings(database_url=dsn).require_database_url() == dsn


LIKE_A_DSN = "a connection string like postgresql://user:password@host:5432/postgres"


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("DATABASE_URL", "https://project.supabase.co?a=1", f"DATABASE_URL must be {LIKE_A_DSN}."),
        ("CONSUMER_LISTEN_URL", "localhost", f"CONSUMER_LISTEN_URL must be {LIKE_A_DSN}."),
        ("SUPABASE_URL", "project", "SUPABASE_URL must be an address like https://project.supabase.co."),
        ("CONSUMER_STORAGE", "s3", "CONSUMER_STORAGE must be one of supabase, local."),
        ("CONSUMER_STORAGE", "supabase", "CONSUMER_STORAGE is supabase, so SUPABASE_URL must be set too."),
        ("CONSUMER_BUCKET", "a/b", "CONSUMER_BUCKET must be up to 63 of a-z, 0-9, -, . and _."),
        ("CONSUMER_ENGINES", "sdxl;wan", "CONSUMER_ENGINES must be names of engines, separated by commas."),
        ("CONSUMER_DEVICE", "GPU 1", "CONSUMER_DEVICE must be auto, cpu, cuda, or one like cuda:1."),
        ("CONSUMER_LEASE_SECONDS", "1.9", "CONSUMER_LEASE_SECONDS must be a number from 2 to 3600."),
        ("CONSUMER_LEASE_SECONDS", "nan", "CONSUMER_LEASE_SECONDS must be a number from 2 to 3600."),
        ("CONSUMER_LEASE_SECONDS", "45s", "CONSUMER_LEASE_SECONDS must be a number from 2 to 3600."),
        ("CONSUMER_SWEEP_SECONDS", "0", "CONSUMER_SWEEP_SECONDS must be a number from 0.1 to 3600."),
        ("CONSUMER_GRACE_SECONDS", "-1", "CONSUMER_GRACE_SECONDS must be a number from 0 to 3600."),
        ("CONSUMER_UPLOAD_SECONDS", "0", "CONSUMER_UPLOAD_SECONDS must be a number from 0.1 to 3600."),
        (
            "CONSUMER_UPLOAD_SECONDS",
            "45",
            "CONSUMER_UPLOAD_SECONDS must be less than CONSUMER_LEASE_SECONDS.",
        ),
        ("CONSUMER_MAX_ATTEMPTS", "2.5", "CONSUMER_MAX_ATTEMPTS must be a whole number from 1 to 100."),
        ("CONSUMER_LOG", "loud", "CONSUMER_LOG must be one of auto, text, json."),
    ],
)
def test_a_mistake_names_the_variable_and_the_limit(monkeypatch, name, value, line):
    monkeypatch.setenv(name, value)
    assert refusal() == [line]


def test_all_mistakes_are_reported_at_once(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "localhost")
    monkeypatch.setenv("CONSUMER_STORAGE", "supabase")
    monkeypatch.setenv("CONSUMER_UPLOAD_SECONDS", "50")
    Path(".env").write_text("CONSUMER_LOG=loud")
    assert [line.split()[0] for line in refusal(max_attempts=0)] == [
        "DATABASE_URL",
        "CONSUMER_STORAGE",
        "CONSUMER_UPLOAD_SECONDS",
        "CONSUMER_MAX_ATTEMPTS",
        "CONSUMER_LOG",
    ]


def test_a_missing_database_url_is_a_sentence_with_the_command_that_helps():
    with pytest.raises(UsageError, match=r"^DATABASE_URL is not set: .*`consumer demo`"):
        load_settings().require_database_url()


def test_secrets_do_not_print(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", DSN)
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_hunter2")
    settings = load_settings()
    for shown in (repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()):
        assert "hunter2" not in shown
        assert "db.example.com" not in shown


def test_a_mistake_does_not_quote_the_value(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "worker:hunter2@db")
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_hunter2")
    monkeypatch.setenv("CONSUMER_DEVICE", "hunter2!")
    assert "hunter2" not in "".join(refusal())


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().bucket = "other"  # type: ignore[misc]
