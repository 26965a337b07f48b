"""What the storage says of the bucket, and why it does not."""

import psycopg

from consumer.doctor import http
from consumer.doctor.finding import WrongError
from consumer.doctor.subject import Subject
from consumer.errors import ConsumerError

SECRET_KEY = "Set SUPABASE_SECRET_KEY to a secret key of this project (Settings > API keys)."  # noqa: S105 a sentence


def api(subject: Subject, path: str) -> str:
    """The address of a call of the Storage API."""
    return f"{(subject.settings.supabase_url or '').rstrip('/')}/storage/v1{path}"


def altered(bucket: str, change: str) -> str:
    """The statement for people that changes a bucket."""
    return f"update storage.buckets set {change} where id = '{bucket}';"  # noqa: S608 it is shown, not run


def described(subject: Subject) -> http.Reply:
    """What the storage says of the bucket. Raises WrongError the first time, ImpossibleError afterwards."""
    return subject.part("bucket", lambda: _described(subject), "The storage or its bucket is out of reach.")


def _described(subject: Subject) -> http.Reply:
    settings = subject.settings
    if settings.supabase_secret_key is None:
        raise WrongError("SUPABASE_SECRET_KEY is not set.", SECRET_KEY)
    key = settings.supabase_secret_key.get_secret_value()
    try:
        reply = http.get(api(subject, f"/bucket/{settings.bucket}"), key)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise WrongError(
            f"Nothing answers at SUPABASE_URL ({type(reason).__name__}).",
            "Check SUPABASE_URL, that the project is not paused, and that this machine may connect to it.",
        ) from None
    if reply.status in (401, 403):
        old = key.startswith("sb_secret_") and "JWS" in reply.json.get("message", "")
        raise WrongError(
            "The storage does not let SUPABASE_SECRET_KEY in"
            + (": it is of an older version, which knows only JWT keys." if old else "."),
            "Set SUPABASE_SECRET_KEY to the service_role JWT." if old else SECRET_KEY,
        )
    if reply.status == 404 and reply.json.get("error") == "Bucket not found":
        raise absent(subject)
    if reply.status != 200 or "public" not in reply.json:
        raise WrongError(
            f"What answers at SUPABASE_URL is no storage, or not well ({reply.status}).",
            "Set SUPABASE_URL to the project's address, like https://project.supabase.co; see the project's status.",
        )
    return reply


def absent(subject: Subject) -> WrongError:
    """The storage shows no such bucket to this key: the database knows whether there is one."""
    name = subject.settings.bucket
    try:
        there = subject.read_one("bucket", {"name": name})["there"]
    except (ConsumerError, psycopg.Error):
        there = None
    if there:
        return WrongError(f"SUPABASE_SECRET_KEY may not see the bucket {name}: it is no secret key.", SECRET_KEY)
    return WrongError(
        f"There is no bucket {name}" + ("." if there is False else " that SUPABASE_SECRET_KEY may see."),
        "consumer migrate up makes workspace-temp; or create the bucket, or set CONSUMER_BUCKET"
        + ("" if there is False else f". {SECRET_KEY}"),
    )
