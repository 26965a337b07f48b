"""A small object goes all the way that a result goes, and away again."""

import asyncio
from uuid import uuid4

from consumer.doctor import http
from consumer.doctor.bucket import altered, api, described
from consumer.doctor.finding import Finding, Findings, ok, wrong
from consumer.doctor.subject import Subject
from consumer.errors import ConsumerError
from consumer.storage import open_storage
from consumer.storage.base import Storage

SIGNED_SECONDS = 60


def probe(subject: Subject) -> Findings:
    """A small object goes all the way that a result goes, and away again."""
    if subject.settings.storage == "supabase":
        described(subject)
    storage = open_storage(subject.settings)
    problems = asyncio.run(probed(subject, storage))
    yield from problems
    if not problems:
        signed = ", shown by a signed URL and not without one" if subject.settings.storage == "supabase" else ""
        yield ok(f"A probe was stored, read back{signed}, and deleted.")


async def probed(subject: Subject, storage: Storage) -> list[Finding]:
    """What went wrong with the probe; it is deleted in any case."""
    nonce = uuid4().hex
    key, data = f".consumer/doctor-{nonce}.png", nonce.encode()
    problems: list[Finding] = []
    try:
        await storage.check()
        await storage.upload(key, data, "image/png")
        try:
            problems += await shown(subject, storage, key, data)
        finally:
            if key not in await storage.remove([key]):
                problems.append(
                    wrong("The probe could not be deleted.", f"Delete {key} from the bucket; see its policies.")
                )
    except ConsumerError as error:
        problems.append(wrong(str(error)))
    finally:
        await storage.close()
    return problems


async def shown(subject: Subject, storage: Storage, key: str, data: bytes) -> list[Finding]:
    """What went wrong with reading the probe: by the storage, by a signed URL, by anybody."""
    problems = []
    if await storage.download(key) != data:
        problems.append(
            wrong(
                "The probe came back changed.", "See what is between this machine and the storage (a proxy, a cache)."
            )
        )
    if subject.settings.storage == "local":
        return problems
    url = (await storage.sign([key], SIGNED_SECONDS)).get(key, "")
    if not url or await fetched(url) != data:
        problems.append(
            wrong("A signed URL does not show the probe.", "Check that SUPABASE_URL is the address that browsers use.")
        )
    if await fetched(api(subject, f"/object/public/{subject.settings.bucket}/{key}")) is not None:
        problems.append(
            wrong(
                "Anybody can read the probe, without a key.",
                altered(subject.settings.bucket, "public = false"),
            )
        )
    return problems


async def fetched(url: str) -> bytes | None:
    """What anybody sees at `url`; None where it is refused."""
    try:
        reply = await asyncio.to_thread(http.get, url)
    except OSError:
        return None
    return reply.body if reply.status == 200 else None
