"""What an error of Supabase Storage means for us: try again, this worker cannot work, or never these bytes.

Most errors come as HTTP 400, and the body has the true status; a gateway in front answers with a true one.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

import aiohttp
import httpx
from storage3.exceptions import StorageApiError
from storage3.utils import StorageException

from consumer.errors import ConsumerError, StorageRefusedError, StorageUnavailableError, StorageUnusableError

PASSING = frozenset({408, 409, 423, 425, 429})
"""These pass, and so does everything from 500 on. 409: another upload of the same key is under way."""

UNREADABLE = (StorageException, ValueError, LookupError, TypeError)
"""A reply that was no error, and not what was promised either, such as a page of HTML."""

NOT_OUR_STORAGE = "InternalError"
"""What storage3 calls an error whose body is not one of the storage's."""

NO_BUCKET = "Bucket not found"


@contextmanager
def translated(bucket: str, content_type: str = "") -> Iterator[None]:
    """Turn what the libraries raise into our errors. `content_type` is that of the file on its way."""
    try:
        yield
    except StorageApiError as error:
        raise meaning(bucket, str(error.status), error.code, retry_after_of(error), content_type) from error
    except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError) as error:
        raise unavailable(bucket, type(error).__name__) from error
    except UNREADABLE as error:
        raise unavailable(bucket, "its reply could not be read") from error


def told(reply: httpx.Response) -> tuple[str, str]:
    """Status and code of an error that was read: those in the body where it is one of the storage's, as storage3 has
    them."""
    try:
        body = reply.json()
        return str(body["statusCode"]), str(body["error"])
    except (ValueError, LookupError, TypeError):
        return str(reply.status_code), NOT_OUR_STORAGE


def meaning(bucket: str, status: str, code: str, retry_after: float = 0.0, content_type: str = "") -> ConsumerError:
    """Our error for a status of the storage, with a sentence that names the bucket and what to change."""
    number = int(status) if status.isdecimal() else 500
    if number in PASSING or number < 300 or number >= 500:
        return unavailable(bucket, status, retry_after)
    if number in (401, 403):
        return StorageUnusableError(
            f"The storage does not let SUPABASE_SECRET_KEY into the bucket {bucket}: it must be a secret key "
            "(sb_secret_... or service_role) of the project in SUPABASE_URL."
        )
    if number == 402:
        return StorageUnusableError(
            f"The project in SUPABASE_URL, with the bucket {bucket}, is restricted: see its bill."
        )
    if number < 400 or (number == 404 and code == NOT_OUR_STORAGE):
        return StorageUnusableError(
            f"SUPABASE_URL does not lead to a storage ({status}), so the bucket {bucket} cannot be reached: "
            "set it to the address of the project."
        )
    if number == 404 and code != "not_found":
        return StorageUnusableError(
            f"The project in SUPABASE_URL has no bucket {bucket} that SUPABASE_SECRET_KEY may see: "
            "create the bucket, or set CONSUMER_BUCKET."
        )
    return StorageRefusedError(refusal(bucket, number, code, content_type))


def refusal(bucket: str, status: int, code: str, content_type: str) -> str:
    """Why these bytes will never be taken, or are not there."""
    match status:
        case 404:
            return f"The bucket {bucket} has no such object."
        case 413:
            return (
                f"The file is larger than the bucket {bucket} takes: "
                "raise its file_size_limit, or the upload limit of the project."
            )
        case 415:
            return f"The bucket {bucket} does not take {content_type or 'this type'}: add it to its allowed_mime_types."
    what = "the name of the file" if code == "InvalidKey" else f"the request ({status})"
    return f"The bucket {bucket} did not take {what}: CONSUMER_BUCKET and SUPABASE_URL must be those of the project."


def unavailable(bucket: str, reason: str, retry_after: float = 0.0) -> StorageUnavailableError:
    """The error after which trying again can help."""
    return StorageUnavailableError(f"The storage with the bucket {bucket} is not available ({reason}).", retry_after)


def retry_after_of(error: BaseException | None) -> float:
    """The seconds of a Retry-After header in what led to this error, else 0."""
    while error is not None:
        if isinstance(error, httpx.HTTPStatusError):
            return seconds_of(error.response.headers)
        error = error.__cause__ or error.__context__
    return 0.0


def seconds_of(headers: Mapping[str, str]) -> float:
    """A Retry-After header, seconds or a date, as seconds from now; a date is read by the clock that it comes from."""
    retry_after = headers.get("retry-after")
    if retry_after is None:
        return 0.0
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        now = parsedate_to_datetime(headers["date"]).timestamp() if "date" in headers else time.time()
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except ValueError:
        return 0.0
