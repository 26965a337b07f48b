"""References: from whose folder and from where they are fetched, how often, and what is said where they are not."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bucket_clients import opened
from consumer import references
from consumer.errors import (
    ConsumerError,
    ReferenceUnavailableError,
    RejectedError,
    StorageUnavailableError,
    StorageUnusableError,
    Verdict,
    decide,
)
from consumer.job import Job, Medium
from consumer.pictures import decode
from consumer.references import FIELDS, References
from consumer.request import Request
from consumer.storage.local import LocalStorage
from consumer.web import Web
from https_server import Authority, HttpsServer, Visit, serving
from stand_in import Bucket, StorageServer, faults

OWNER, OTHER = UUID("11111111-aaaa-4aaa-8aaa-111111111111"), UUID("22222222-bbbb-4bbb-8bbb-222222222222")
NOT_YOURS = "reference_image_url must be an https address, or the path of a picture in the user's own folder."


def picture(colour: str = "teal", size: tuple[int, int] = (40, 24)) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def job(**metadata: Any) -> Job:
    return Job(uuid4(), OWNER, "sdxl_image_fast", "sdxl", 1, 1, 3, metadata)


def request(**fields: Any) -> Request:
    usual = {"job_type": "sdxl_image_fast", "medium": Medium.image, "prompt": "a fox", "count": 1, "seed": 7}
    return Request.model_validate(usual | {"steps": 4, "guidance_scale": 6.5, "width": 96, "height": 64} | fields)


async def fetched(fetcher: References, value: str, name: str = "reference_image_url") -> references.Reference:
    """What one reference_url becomes, sent as `name`."""
    done = await fetcher.fetch(job(**{name: value}), request(reference_url=value), FIELDS)
    assert list(done.references) == ["reference_url"]
    return done.references["reference_url"]


def refusal(fetcher: References, value: str, kind: type[ConsumerError] = RejectedError) -> str:
    with pytest.raises(ConsumerError) as caught:
        asyncio.run(fetched(fetcher, value))
    assert type(caught.value) is kind
    text = str(caught.value)
    assert not [secret for secret in (str(OWNER), str(OTHER), "fox", "token") if secret in text], text
    return text


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    """The bucket `results`, with one picture of each user, and others beside it."""
    for bucket in ("results", "workspace-temp", "user-library", "private"):
        for user in (OWNER, OTHER):
            put(tmp_path / bucket / str(user) / "fox.png", picture("teal" if user == OWNER else "red"))
    put(tmp_path / "fox.png", picture("red"))
    return LocalStorage(tmp_path, "results")


def put(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


@pytest.mark.parametrize("prefix", ["", "/", "results/", "/results/", "workspace-temp/", "user-library/"])
def test_a_path_in_the_users_own_folder_is_read_from_its_bucket(storage, tmp_path, prefix):
    data = picture("navy")
    put(tmp_path / (prefix.strip("/") or "results") / str(OWNER) / "deep/er (1).png", data)
    found = asyncio.run(fetched(References(storage), f"{prefix}{OWNER}/deep/er (1).png"))
    assert found.data == data
    assert np.array_equal(found.pixels, decode("field", data))


@pytest.mark.parametrize(
    "value",
    [
        f"{OTHER}/fox.png", f"/{OTHER}/fox.png", f"user-library/{OTHER}/fox.png", f"{OWNER}/../{OTHER}/fox.png",
        f"{OWNER}/./../{OTHER}/fox.png", f"../user-library/{OWNER}/fox.png", f"{OWNER}//fox.png", f"{OWNER}/",
        f"{OWNER}", f"//{OWNER}/fox.png", f"results//{OWNER}/fox.png", f"private/{OWNER}/fox.png", "fox.png",
        f"{OWNER}/%2e%2e/{OTHER}/fox.png", f"{OWNER}%2f..%2f{OTHER}/fox.png", f"{OWNER}\\..\\{OTHER}\\fox.png",
        f"{OWNER}/..\\{OTHER}/fox.png", f"{str(OWNER).upper()}/fox.png", f"{OWNER}x/fox.png", f"{OWNER} /fox.png",
        f"results/results/{OWNER}/fox.png", f"results/../private/{OWNER}/fox.png", f"{OWNER}/fox.png\n",
        f"{OWNER}/\uff0e\uff0e/{OTHER}/fox.png", f"{OWNER}/fox#.png", f"./{OWNER}/fox.png", "/etc/passwd",
        "http://pictures.example/fox.png", "ftp://pictures.example/fox.png", "//pictures.example/fox.png",
        "file:///etc/passwd", f"file://{OWNER}/fox.png", "data:image/png;base64,iVBORw0KGgo=", "httpsx://fox", "fox",
    ],
)  # fmt: skip
def test_anything_else_than_https_and_the_users_own_folder_is_refused(storage, value):
    assert refusal(References(storage), value) == NOT_YOURS


PARTS = st.sampled_from(
    [str(OWNER), str(OTHER), "fox.png", "results", "user-library", "private", "..", ".", "", "%2e%2e", "\\", " "]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PARTS, min_size=1, max_size=6).map("/".join).filter(bool))
def test_no_path_at_all_leads_out_of_the_users_folder(storage, value):
    """Whatever lies elsewhere is red."""
    try:
        found = asyncio.run(fetched(References(storage), value))
    except RejectedError:
        return
    assert found.data == picture("teal")
    assert "private" not in value


def test_an_object_that_is_not_there_is_told(storage):
    text = refusal(References(storage), f"{OWNER}/none.png")
    assert text == "reference_image_url could not be had: the local storage has no such object."
    assert refusal(References(storage), f"workspace-temp/{OWNER}/none.png") == text


def test_an_object_that_is_too_large_is_told(storage, tmp_path):
    with (tmp_path / "results" / str(OWNER) / "large.png").open("wb") as file:
        file.truncate(20 * 1024**2 + 1)
    text = refusal(References(storage), f"{OWNER}/large.png")
    assert text == "reference_image_url could not be had: the object is larger than 20 MiB."


def test_an_object_that_is_no_picture_is_told(storage, tmp_path):
    put(tmp_path / "results" / str(OWNER) / "page.png", b"<html></html>")
    text = refusal(References(storage), f"{OWNER}/page.png")
    assert text == "reference_image_url must be a PNG, JPEG or WebP picture, whole and unbroken."


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"reference_image_url": "fox"}, "reference_image_url"),
        ({"reference_url": "fox"}, "reference_url"),
        ({"reference_url": None, "reference_image_url": "fox"}, "reference_image_url"),
        ({}, "reference_url"),
    ],
)
def test_a_sentence_names_the_field_as_it_was_sent(storage, metadata, name):
    with pytest.raises(RejectedError, match=f"^{name} must be an https address"):
        asyncio.run(References(storage).fetch(job(**metadata), request(reference_url="fox"), FIELDS))


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_the_engine_does_not_use_is_refused_before_anything_is_fetched(storage, field):
    used = [other for other in FIELDS if other != field]
    path = f"{OWNER}/none.png"
    with pytest.raises(RejectedError, match=f"^{field} is not supported by the sdxl engine.$"):
        asyncio.run(References(storage).fetch(job(), request(**dict.fromkeys(FIELDS, path)), used))


def test_a_request_without_references_stays_as_it_is(storage):
    asked = request()
    assert asyncio.run(References(storage).fetch(job(), asked, ())) == asked


def test_by_default_the_web_is_the_open_internet(storage):
    for host in ("127.0.0.1", "localhost", "[::1]", "169.254.169.254"):
        text = refusal(References(storage), f"https://{host}/fox.png")
        assert text == "reference_image_url could not be had: its host is not on the public internet."


Handle = Callable[[Visit], Awaitable[None]]


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Signs what the server of these tests shows."""
    return Authority()


Serve = Callable[[Handle], Any]


@pytest.fixture
def serve(authority: Authority, storage: LocalStorage, tmp_path: Path) -> Serve:
    """A server that is the whole web, and what fetches from it."""

    @asynccontextmanager
    async def served(handle: Handle, seconds: float = 20) -> AsyncIterator[tuple[HttpsServer, References]]:
        async def here(_: str) -> list[str]:
            return ["127.0.0.1"]

        async with serving(handle, authority.serves(tmp_path, ["pictures.example"])) as server:
            web = Web(here, lambda address: address == "127.0.0.1", authority.trusted, server.port)
            yield server, References(storage, web, seconds)

    return served


def url(name: str = "fox.png") -> str:
    return f"https://pictures.example/{name}?token=abc"


def test_the_bytes_and_the_pixels_are_from_one_and_the_same_answer(serve):
    """Each answer differs from the last."""
    colours = iter(["teal", "red", "navy"])

    async def main() -> None:
        async with serve(lambda visit: visit.answer(200, picture(next(colours)))) as (server, fetcher):
            found = await fetched(fetcher, url())
            assert len(server.visits) == 1
        assert found.data == picture("teal")
        assert np.array_equal(found.pixels, decode("field", found.data))

    asyncio.run(main())


def test_what_two_fields_refer_to_is_fetched_once(serve):
    async def main() -> None:
        async with serve(lambda visit: visit.answer(200, picture())) as (server, fetcher):
            both = {"start_reference_url": url(), "end_reference_url": url()}
            done = await fetcher.fetch(job(), request(**both), FIELDS)
            assert len(server.visits) == 1
        assert set(done.references) == set(both)
        assert done.references["start_reference_url"] is done.references["end_reference_url"]

    asyncio.run(main())


def test_different_references_are_fetched_side_by_side_each_for_its_field(serve):
    """None is answered before all have asked."""
    asked, all_here = [], asyncio.Event()

    async def handle(visit: Visit) -> None:
        asked.append(visit)
        if len(asked) == 3:
            all_here.set()
        await all_here.wait()
        await visit.answer(200, picture(visit.path[1:].partition("?")[0]))

    async def main() -> None:
        async with serve(handle) as (_, fetcher):
            colours = dict(zip(FIELDS, ("red", "navy", "teal"), strict=True))
            sent = {field: url(colour) for field, colour in colours.items()}
            done = await fetcher.fetch(job(), request(**sent), FIELDS)
        assert {field: found.data for field, found in done.references.items()} == {
            field: picture(colour) for field, colour in colours.items()
        }

    asyncio.run(main())


async def drip(visit: Visit) -> None:
    await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        await visit.send(b"x")
        await asyncio.sleep(0.01)


async def stand_still(visit: Visit) -> None:
    await asyncio.sleep(60)


async def drip_headers(visit: Visit) -> None:
    await visit.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await visit.send(b"a: b\r\n")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("handle", [drip, stand_still, drip_headers])
def test_an_answer_that_takes_too_long_ends_the_attempt(serve, handle):
    async def main() -> None:
        async with serve(handle, seconds=0.3) as (server, fetcher), asyncio.timeout(10):
            with pytest.raises(ReferenceUnavailableError) as caught:
                await fetched(fetcher, url())
            assert len(server.visits) == 1
        assert str(caught.value) == "reference_image_url could not be had: it took longer than 0.3 seconds."

    asyncio.run(main())


def test_a_reference_that_may_come_later_is_tried_in_every_attempt_and_then_told():
    error = ReferenceUnavailableError("reference_image_url could not be had: the server answered 503.")
    first, last = (decide(error, attempts=attempts, max_attempts=3, max_failures=1) for attempts in (1, 3))
    assert (first.verdict, last.verdict, last.message) == (Verdict.retry, Verdict.fail, str(error))
    assert not first.unusable, "whoever sends dead addresses ends no worker"


def test_the_first_failure_ends_the_others(serve):
    async def handle(visit: Visit) -> None:
        if "none" in visit.path:
            await visit.answer(404)
        else:
            await stand_still(visit)

    async def main() -> None:
        async with serve(handle) as (_, fetcher), asyncio.timeout(10):
            both = request(start_reference_url=url("slow"), end_reference_url=url("none"))
            with pytest.raises(RejectedError) as caught:
                await fetcher.fetch(job(last_frame=both.end_reference_url), both, FIELDS)
        assert str(caught.value) == "last_frame could not be had: the server answered 404."

    asyncio.run(main())


def test_cancelling_ends_the_transfer(serve):
    async def main() -> None:
        begun, gone = asyncio.Event(), asyncio.Event()

        async def handle(visit: Visit) -> None:
            begun.set()
            try:
                await drip(visit)
            finally:
                gone.set()

        async with serve(handle) as (_, fetcher), asyncio.timeout(10):
            task = asyncio.create_task(fetched(fetcher, url()))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await gone.wait()

    asyncio.run(main())


def test_the_event_loop_runs_on_while_a_picture_is_decoded(storage, monkeypatch):
    decoding, go_on = threading.Event(), threading.Event()

    def slow(name: str, data: bytes) -> Any:
        decoding.set()
        assert go_on.wait(30)
        return decode(name, data)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fetched(References(storage), f"{OWNER}/fox.png"))
            while not decoding.is_set():
                await asyncio.sleep(0)
            go_on.set()

    monkeypatch.setattr(references, "decode", slow)
    asyncio.run(main())


def test_the_web_costs_nothing_before_it_is_needed():
    code = "import sys, consumer.references; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def api():
    """The storage of a project."""
    with StorageServer() as api:
        yield api


def from_bucket(api: StorageServer, value: str, seconds: float = 20, **options: Any) -> references.Reference:
    async def main() -> references.Reference:
        async with opened(api.url, **options) as storage:
            return await fetched(References(storage, seconds=seconds), value)

    return asyncio.run(main())


@pytest.mark.parametrize("bucket", ["workspace-temp", "user-library"])
def test_a_path_is_read_from_its_bucket_of_the_project_with_one_request(api, bucket):
    api.buckets["user-library"] = Bucket()
    api.put(f"{OWNER}/a fox (1).png", picture(), bucket=bucket)
    assert from_bucket(api, f"{bucket}/{OWNER}/a fox (1).png").data == picture()
    assert [seen.path for seen in api.requests] == [f"/object/{bucket}/{OWNER}/a fox (1).png"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (f"{OWNER}/none.png", "the bucket workspace-temp has no such object."),
        (f"user-library/{OWNER}/none.png", "the project has no bucket user-library."),
    ],
)
def test_what_a_project_does_not_have_is_told_and_the_worker_goes_on(api, value, text):
    with pytest.raises(RejectedError) as caught:
        from_bucket(api, value)
    assert str(caught.value) == f"reference_image_url could not be had: {text}"


def test_a_bucket_in_trouble_is_no_fault_of_the_reference(api):
    api.put(f"{OWNER}/fox.png", picture())
    api.fail(faults.html(503))
    with pytest.raises(StorageUnavailableError, match=r"workspace-temp is not available \(503\)\.$"):
        from_bucket(api, f"{OWNER}/fox.png")
    with pytest.raises(StorageUnusableError, match="SUPABASE_SECRET_KEY"):
        from_bucket(api, f"user-library/{OWNER}/fox.png", key="sb_secret_wrong")
    api.fail(faults.hang)
    with pytest.raises(ReferenceUnavailableError, match=r"it took longer than 0\.3 seconds\.$"):
        from_bucket(api, f"{OWNER}/fox.png", seconds=0.3)
