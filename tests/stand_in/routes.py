"""What the stand-in of the storage answers to each call, with the bodies and statuses of the real one."""

import base64
import hashlib
import re
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from stand_in.wire import ROOT, Answer, ApiError, Exchange, Json

SECRET_KEY = "sb_secret_Tq3hYb0XnqvWkq7dGf1zcw_8uPq1Zrs"
LEGACY_KEY = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2lnbmF0dXJlLW9mLXNlcnZpY2Utcm9sZQ"
ANON_KEY = "sb_publishable_7d0ckD2nq1o0kWbZy5m3aA_Yh2"

KEY = re.compile(r"^[\w/!.*'() &$@=;:+,?-]+$", re.ASCII)
RLS = "new row violates row-level security policy"


@dataclass
class Object:
    """What is stored under one key."""

    data: bytes
    content_type: str
    cache_control: str
    id: str = field(default_factory=lambda: str(uuid4()))
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Bucket:
    """The properties of a bucket that refuse uploads."""

    file_size_limit: int | None = None
    allowed_mime_types: list[str] | None = None
    public: bool = False
    owner: str | None = None
    """None where a migration made the bucket."""


@dataclass
class Upload:
    """A resumable upload that was begun."""

    bucket: str
    key: str
    length: int
    content_type: str
    cache_control: str
    data: bytearray = field(default_factory=bytearray)


@dataclass
class State:
    """What the storage holds, and who may come."""

    buckets: dict[str, Bucket]
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    """By bucket and key."""
    keys: set[str] = field(default_factory=lambda: {SECRET_KEY, LEGACY_KEY})
    """Secret keys; ANON_KEY may come in and see nothing."""
    uploads: dict[str, Upload] = field(default_factory=dict)
    """Resumable ones by their id; without it, they have expired."""
    upload_limit: int = 52_428_800
    """Of the server, in bytes, for an upload in one piece."""
    tokens: dict[str, tuple[str, str, datetime]] = field(default_factory=dict)
    """Signed URLs: bucket, key, end."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    url: str = ""


class TusError(ApiError):
    """The resumable protocol answers with the true status, and a text for a body."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(str(status), "", message, status)
        self.body = message.encode()


def answer_of(exchange: Exchange, state: State) -> Answer:
    """Who may do what, and then what it does. Raises ApiError."""
    request = exchange.seen
    if request.method == "GET" and request.path.startswith("/object/sign/"):
        return read_signed(exchange, state)
    authorize(exchange, state)
    for methods, pattern, route in ROUTES:
        if request.method in methods.split() and (match := re.fullmatch(pattern, request.path)):
            with nullcontext() if route in (upload, patch_upload) else state.lock:
                return route(exchange, state, *match.groups())
    exchange.body()
    return 404, {}, {"message": f"Route {request.method}:{request.path} not found", "error": "Not Found"}


def authorize(exchange: Exchange, state: State) -> None:
    headers = exchange.seen.headers
    if "apikey" not in headers:
        error = ApiError("401", "", "", 401)
        error.body = {"message": "No API key found in request"}
        raise error
    key = headers.get("authorization", "").removeprefix("Bearer ")
    if key != ANON_KEY and key not in state.keys:
        message = "signature verification failed" if key.count(".") == 2 else "Invalid Compact JWS"
        raise ApiError("403", "Unauthorized", message)


def anonymous(exchange: Exchange) -> bool:
    return exchange.seen.headers["authorization"] == f"Bearer {ANON_KEY}"


def may_write(exchange: Exchange) -> None:
    if anonymous(exchange):
        raise ApiError("403", "Unauthorized", RLS)


def bucket_of(state: State, bucket: str) -> Bucket:
    if bucket not in state.buckets:
        raise ApiError("404", "Bucket not found", "Bucket not found")
    return state.buckets[bucket]


def too_large() -> ApiError:
    return ApiError("413", "Payload too large", "The object exceeded the maximum allowed size")


def limit_of(bucket: Bucket, server_limit: int) -> int:
    return min(server_limit, bucket.file_size_limit or server_limit)


def allow_type(bucket: Bucket, content_type: str) -> None:
    if bucket.allowed_mime_types is not None and content_type not in bucket.allowed_mime_types:
        raise ApiError("415", "invalid_mime_type", f"mime type {content_type} is not supported")


def upload(exchange: Exchange, state: State, bucket_id: str, key: str) -> Answer:
    headers = exchange.seen.headers
    bucket = bucket_of(state, bucket_id)
    if not KEY.match(key):
        raise ApiError("400", "InvalidKey", f"Invalid key: {key}")
    may_write(exchange)
    upsert = exchange.seen.method == "PUT" or headers.get("x-upsert") == "true"
    if not upsert and (bucket_id, key) in state.objects:
        raise ApiError("409", "Duplicate", "The resource already exists")
    if exchange.seen.size > limit_of(bucket, state.upload_limit) + 4096:
        raise too_large()
    fields = multipart(headers["content-type"], exchange.body())
    data, content_type = fields.get("file", fields.get("", (b"", "text/plain")))
    if len(data) > limit_of(bucket, state.upload_limit):
        raise too_large()
    content_type = content_type.split(";")[0]
    allow_type(bucket, content_type)
    age = fields["cacheControl"][0].decode() if "cacheControl" in fields else "3600"
    return 200, {}, store(state, bucket_id, key, Object(data, content_type, f"max-age={age}"))


def store(state: State, bucket: str, key: str, new: Object) -> Json:
    with state.lock:
        if old := state.objects.get((bucket, key)):
            new.id, new.created_at = old.id, old.created_at
        state.objects[bucket, key] = new
    return {"Key": f"{bucket}/{key}", "Id": new.id}


def multipart(content_type: str, body: bytes) -> dict[str, tuple[bytes, str]]:
    """The fields of a form by name: the bytes and their type."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    fields = {}
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        headers = head.decode()
        kind = re.search(r"content-type: *([^\r\n]+)", headers, re.IGNORECASE)
        name = re.search(r'name="([^"]*)"', headers)
        assert name
        fields[name[1]] = (data.removesuffix(b"\r\n"), kind[1] if kind else "text/plain")
    return fields


def download(exchange: Exchange, state: State, bucket: str, key: str) -> Answer:
    found = state.objects.get((bucket, key))
    bucket_of(state, bucket)
    if found is None or anonymous(exchange):
        raise ApiError("404", "not_found", "Object not found")
    return (
        200,
        {"Content-Type": found.content_type, "Cache-Control": found.cache_control, "ETag": etag(found)},
        found.data,
    )


def etag(found: Object) -> str:
    return f'"{hashlib.md5(found.data).hexdigest()}"'


def info(exchange: Exchange, state: State, bucket: str, key: str) -> Answer:
    found = state.objects.get((bucket, key))
    if found is None or anonymous(exchange):
        raise ApiError("404", "not_found", "Object not found")
    told = {
        "id": found.id, "name": key, "version": str(uuid4()), "bucket_id": bucket, "size": len(found.data),
        "content_type": found.content_type, "cache_control": found.cache_control, "etag": etag(found),
        "metadata": {}, "last_modified": stamp(found.created_at), "created_at": stamp(found.created_at),
    }  # fmt: skip
    return 200, {}, told


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def list_objects(exchange: Exchange, state: State, bucket: str) -> Answer:
    asked = exchange.json()
    prefix = f"{asked['prefix'].strip('/')}/" if asked.get("prefix") else ""
    seen: dict[str, Json] = {}
    for (where, key), found in state.objects.items():
        if where != bucket or not key.startswith(prefix) or anonymous(exchange):
            continue
        name, _, deeper = key.removeprefix(prefix).partition("/")
        seen[name] = folder_of(name) if deeper else entry_of(name, found)
    offset, limit = asked.get("offset", 0), asked.get("limit", 100)
    return 200, {}, [seen[name] for name in sorted(seen)][offset : offset + limit]


def folder_of(name: str) -> Json:
    return {
        "name": name, "id": None, "updated_at": None, "created_at": None, "last_accessed_at": None, "metadata": None,
    }  # fmt: skip


def entry_of(name: str, found: Object) -> Json:
    moment = stamp(found.created_at)
    measured = {
        "eTag": etag(found), "size": len(found.data), "mimetype": found.content_type,
        "cacheControl": found.cache_control, "lastModified": moment, "contentLength": len(found.data),
        "httpStatusCode": 200,
    }  # fmt: skip
    return {
        "name": name, "id": found.id, "updated_at": moment, "created_at": moment, "last_accessed_at": moment,
        "metadata": measured,
    }  # fmt: skip


def sign(exchange: Exchange, state: State, bucket: str, key: str) -> Answer:
    asked = exchange.json()
    if (bucket, key) not in state.objects or anonymous(exchange):
        raise ApiError("404", "not_found", "Object not found")
    return 200, {}, {"signedURL": signed(state, bucket, key, asked)}


def sign_many(exchange: Exchange, state: State, bucket: str) -> Answer:
    asked = exchange.json()
    missing = "Either the object does not exist or you do not have access to it"
    items = []
    for key in asked["paths"]:
        there = (bucket, key) in state.objects and not anonymous(exchange)
        url = signed(state, bucket, key, asked) if there else None
        items.append({"error": None if there else missing, "path": key, "signedURL": url})
    return 200, {}, items


def signed(state: State, bucket: str, key: str, asked: Json) -> str:
    token = uuid4().hex
    state.tokens[token] = (bucket, key, datetime.now(UTC) + timedelta(seconds=int(asked["expiresIn"])))
    return f"/object/sign/{bucket}/{key}?token={token}"


def read_signed(exchange: Exchange, state: State) -> Answer:
    bucket, key, end = state.tokens.get(exchange.seen.query.get("token", [""])[0], ("", "", datetime.now(UTC)))
    if end <= datetime.now(UTC) or exchange.seen.path != f"/object/sign/{bucket}/{key}":
        raise ApiError("400", "InvalidJWT", "signature verification failed")
    if (bucket, key) not in state.objects:
        raise ApiError("404", "not_found", "Object not found")
    found = state.objects[bucket, key]
    expires = end.strftime("%a, %d %b %Y %H:%M:%S GMT")
    return 200, {"Content-Type": found.content_type, "Expires": expires, "ETag": etag(found)}, found.data


def sign_upload(exchange: Exchange, state: State, bucket: str, key: str) -> Answer:
    bucket_of(state, bucket)
    may_write(exchange)
    if exchange.seen.headers.get("x-upsert") != "true" and (bucket, key) in state.objects:
        raise ApiError("409", "Duplicate", "The resource already exists")
    token = uuid4().hex
    return 200, {}, {"url": f"/object/upload/sign/{bucket}/{key}?token={token}", "token": token}


def remove(exchange: Exchange, state: State, bucket: str) -> Answer:
    keys = exchange.json()["prefixes"]
    if not keys:
        raise ApiError("400", "InvalidRequest", "body/prefixes must NOT have fewer than 1 items")
    if anonymous(exchange):
        return 200, {}, []
    gone = [(key, state.objects.pop((bucket, key))) for key in keys if (bucket, key) in state.objects]
    return 200, {}, [{**entry_of(key, was), "bucket_id": bucket, "owner": None, "owner_id": None} for key, was in gone]


def show_bucket(exchange: Exchange, state: State, bucket_id: str) -> Answer:
    bucket = bucket_of(state, bucket_id)
    if anonymous(exchange):
        raise ApiError("404", "Bucket not found", "Bucket not found")
    return 200, {}, bucket_row(bucket_id, bucket)


def bucket_row(bucket_id: str, bucket: Bucket) -> Json:
    return {
        "id": bucket_id, "name": bucket_id, "owner": bucket.owner, "public": bucket.public, "type": "STANDARD",
        "file_size_limit": bucket.file_size_limit, "allowed_mime_types": bucket.allowed_mime_types,
        "created_at": "2026-11-01T10:00:00.000Z", "updated_at": "2026-11-01T10:00:00.000Z",
    }  # fmt: skip


def list_buckets(exchange: Exchange, state: State) -> Answer:
    buckets = {} if anonymous(exchange) else state.buckets
    return 200, {}, [bucket_row(name, bucket) for name, bucket in buckets.items()]


TUS = {"Tus-Resumable": "1.0.0"}


def create_upload(exchange: Exchange, state: State) -> Answer:
    headers = exchange.seen.headers
    if headers.get("tus-resumable") != "1.0.0":
        raise TusError(412, "Tus-Resumable Required")
    named = dict(pair.split(" ") for pair in headers["upload-metadata"].split(","))
    told = {name: base64.b64decode(value).decode() for name, value in named.items()}
    bucket_id, key, length = told["bucketName"], told["objectName"], int(headers["upload-length"])
    if bucket_id not in state.buckets:
        raise TusError(404, "Bucket not found")
    if anonymous(exchange):
        raise TusError(403, RLS)
    if headers.get("x-upsert") != "true" and (bucket_id, key) in state.objects:
        raise TusError(409, "The resource already exists")
    bucket = state.buckets[bucket_id]
    if length > (bucket.file_size_limit or length):
        raise TusError(413, "Maximum size exceeded")
    content_type = told.get("contentType", "application/octet-stream")
    if bucket.allowed_mime_types is not None and content_type not in bucket.allowed_mime_types:
        raise TusError(415, f"mime type {content_type} is not supported")
    upload_id = base64.urlsafe_b64encode(f"{bucket_id}/{key}/{uuid4()}".encode()).decode().rstrip("=")
    age = f"max-age={told.get('cacheControl', '3600')}"
    state.uploads[upload_id] = Upload(bucket_id, key, length, content_type, age)
    return 201, {**TUS, "Location": f"{state.url}{ROOT}/upload/resumable/{upload_id}"}, b""


def upload_at(state: State, upload_id: str) -> Upload:
    if upload_id not in state.uploads:
        raise TusError(404, "The file for this url was not found")
    found: Upload = state.uploads[upload_id]
    return found


def head_upload(exchange: Exchange, state: State, upload_id: str) -> Answer:
    begun = upload_at(state, upload_id)
    told = {"Upload-Offset": str(len(begun.data)), "Upload-Length": str(begun.length), "Cache-Control": "no-store"}
    return 200, {**TUS, **told}, b""


def patch_upload(exchange: Exchange, state: State, upload_id: str) -> Answer:
    begun, headers = upload_at(state, upload_id), exchange.seen.headers
    if headers.get("content-type") != "application/offset+octet-stream":
        raise TusError(415, "Content-Type must be application/offset+octet-stream")
    if int(headers["upload-offset"]) != len(begun.data):
        raise TusError(409, "Upload-Offset conflict")
    # What arrived before a connection broke is kept.
    exchange.body(arrived=begun.data.extend)
    if len(begun.data) == begun.length:
        new = Object(bytes(begun.data), begun.content_type, begun.cache_control)
        store(state, begun.bucket, begun.key, new)
    return 204, {**TUS, "Upload-Offset": str(len(begun.data))}, b""


Route = Callable[..., Answer]
ROUTES: list[tuple[str, str, Route]] = [
    ("POST", r"/upload/resumable", create_upload),
    ("HEAD", r"/upload/resumable/([^/]+)", head_upload),
    ("PATCH", r"/upload/resumable/([^/]+)", patch_upload),
    ("GET", r"/bucket", list_buckets),
    ("GET", r"/bucket/([^/]+)", show_bucket),
    ("POST", r"/object/list/([^/]+)", list_objects),
    ("POST", r"/object/upload/sign/([^/]+)/(.+)", sign_upload),
    ("POST", r"/object/sign/([^/]+)", sign_many),
    ("POST", r"/object/sign/([^/]+)/(.+)", sign),
    ("GET", r"/object/info/([^/]+)/(.+)", info),
    ("GET", r"/object/authenticated/([^/]+)/(.+)", download),
    ("GET", r"/object/([^/]+)/(.+)", download),
    ("POST PUT", r"/object/([^/]+)/(.+)", upload),
    ("DELETE", r"/object/([^/]+)", remove),
]
