"""What the doctor says of settings that can be read and are wrong."""

from pathlib import Path
from typing import Any

import pytest

from consumer.doctor.subject import Subject
from consumer.settings import load_settings
from patients import Line, findings
from stand_in import ANON_KEY, LEGACY_KEY, SECRET_KEY


def lines(check: str, **settings: Any) -> list[Line]:
    found = findings(Subject(load_settings(**settings)), f"settings.{check}")
    return [(str(each.status), each.message, each.remedy) for each in found]


def test_no_database() -> None:
    [(status, message, remedy)] = lines("values")
    assert (status, message) == ("wrong", "DATABASE_URL is not set.")
    assert remedy
    [(status, _, _)] = lines("values", database_url="postgresql://u:p@h/d")
    assert status == "ok"


@pytest.mark.parametrize(
    ("url", "status", "message"),
    [
        ("https://abcdefghij.supabase.co", "ok", "SUPABASE_URL has the shape of a project's address."),
        ("https://abcdefghij.supabase.co/", "ok", "SUPABASE_URL has the shape of a project's address."),
        ("http://localhost:54321", "ok", "SUPABASE_URL has the shape of a project's address."),
        ("http://192.168.1.2:8000", "ok", "SUPABASE_URL has the shape of a project's address."),
        ("http://kong:8000", "ok", "SUPABASE_URL has the shape of a project's address."),
        ("https://abcdefghij.supabase.co/rest/v1", "wrong", "SUPABASE_URL has a path."),
        ("https://supabase.com/dashboard/project/abcdefghij", "wrong", "SUPABASE_URL is the dashboard's address."),
        ("https://db.abcdefghij.supabase.co", "wrong", "SUPABASE_URL is the database's host."),
        (
            "http://supabase.example.com",
            "wrong",
            "SUPABASE_URL is http, so the secret key travels in the open.",
        ),
    ],
)
def test_the_address_of_the_project(url: str, status: str, message: str) -> None:
    [(found, told, remedy)] = lines("supabase_url", supabase_url=url)
    assert (found, told) == (status, message)
    assert (remedy is None) == (status == "ok")


@pytest.mark.parametrize(
    ("key", "status", "message"),
    [
        (SECRET_KEY, "ok", "SUPABASE_SECRET_KEY is a secret key."),
        (
            LEGACY_KEY,
            "ok",
            "SUPABASE_SECRET_KEY is a JWT of the older kind; storage.bucket tells whether it is the service_role one.",
        ),
        (ANON_KEY, "wrong", "SUPABASE_SECRET_KEY is a publishable key, which may store nothing."),
        ("secret", "wrong", "SUPABASE_SECRET_KEY is neither a secret key (sb_secret_...) nor a JWT."),
    ],
)
def test_the_kind_of_key(key: str, status: str, message: str) -> None:
    [(found, told, remedy)] = lines("key", supabase_url="https://x.supabase.co", supabase_secret_key=key)
    assert (found, told) == (status, message)
    assert (remedy is None) == (status == "ok")
    assert key == "secret" or key not in f"{told}{remedy}"


def test_nothing_of_a_project_is_needed_for_a_folder() -> None:
    assert [line[0] for line in lines("key") + lines("supabase_url")] == ["skip", "skip"]


def test_a_file_of_settings(bare: Path) -> None:
    [(status, message, _)] = lines("env_file")
    assert (status, message[:27]) == ("note", "There is no .env in this di")
    file = bare / ".env"
    file.write_text("CONSUMER_BUCKET=b\n")
    file.chmod(0o644)
    [(status, message, remedy)] = lines("env_file")
    assert (status, remedy) == ("note", "chmod 600 .env")
    file.chmod(0o600)
    [(status, _, _)] = lines("env_file")
    assert status == "ok"
