"""The settings: every mistake is found when they are read; here is what reads well and is wrong all the same."""

import re
import stat
from pathlib import Path

from consumer.doctor.finding import Findings, note, ok, skip, wrong
from consumer.doctor.subject import NOT_SET, Subject

ENV = Path(".env")
DASHBOARD = re.compile(r"https?://(supabase\.com|app\.supabase\.(com|io))(/|$)")
HERE = re.compile(r"http://(localhost|127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|\[::1\]|[^./:]+(:|/|$))")
POSTGRES = re.compile(r"https?://db\.")


def values(subject: Subject) -> Findings:
    """They were read, or nobody would ask."""
    if subject.settings.database_url is None:
        yield wrong(*NOT_SET)
    else:
        yield ok("Every setting has a value that can be right.")


def env_file(subject: Subject) -> Findings:  # noqa: ARG001 every check takes it
    """The .env of the working directory: there, and read by nobody else."""
    if not ENV.is_file():
        yield note("There is no .env in this directory; the settings are those of the environment.")
    elif ENV.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        yield note("Others on this machine may read .env, which holds a password or a key.", "chmod 600 .env")
    else:
        yield ok("There is a .env, and only its owner reads it.")


def supabase_url(subject: Subject) -> Findings:
    """The address of the project's API, and not one of its other addresses."""
    url = subject.settings.supabase_url
    if url is None:
        yield skip("SUPABASE_URL is not set; results go to a folder.")
    elif DASHBOARD.match(url):
        yield wrong("SUPABASE_URL is the dashboard's address.", "Set SUPABASE_URL like https://project.supabase.co.")
    elif POSTGRES.match(url):
        yield wrong("SUPABASE_URL is the database's host.", "Set SUPABASE_URL like https://project.supabase.co.")
    elif url.rstrip("/").count("/") > 2:
        yield wrong("SUPABASE_URL has a path.", "Cut SUPABASE_URL after the host.")
    elif url.startswith("http://") and not HERE.match(url):
        yield wrong("SUPABASE_URL is http, so the secret key travels in the open.", "Set SUPABASE_URL to https://...")
    else:
        yield ok("SUPABASE_URL has the shape of a project's address.")


def key(subject: Subject) -> Findings:
    """Whether the key is none that a browser has. What it may do is asked of the storage itself."""
    found = subject.settings.supabase_secret_key
    if found is None:
        if subject.settings.storage == "supabase":
            yield wrong(
                "SUPABASE_SECRET_KEY is not set.", "Set SUPABASE_SECRET_KEY to a secret key (Settings > API keys)."
            )
        else:
            yield skip("SUPABASE_SECRET_KEY is not set, and a folder needs none.")
        return
    text = found.get_secret_value()
    if text.startswith("sb_publishable_"):
        yield wrong(
            "SUPABASE_SECRET_KEY is a publishable key, which may store nothing.",
            "Set SUPABASE_SECRET_KEY to a secret key (Settings > API keys > Secret keys).",
        )
    elif text.startswith("sb_secret_"):
        yield ok("SUPABASE_SECRET_KEY is a secret key.")
    elif text.count(".") == 2:
        yield ok(
            "SUPABASE_SECRET_KEY is a JWT of the older kind; storage.bucket tells whether it is the service_role one."
        )
    else:
        yield wrong(
            "SUPABASE_SECRET_KEY is neither a secret key (sb_secret_...) nor a JWT.",
            "Copy it again, whole and in one line, from Settings > API keys.",
        )


CHECKS = (values, env_file, supabase_url, key)
