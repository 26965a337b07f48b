"""What must hold after every run, whatever went wrong in it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from consumer.delivery import TRIES
from evidence import MAX_ATTEMPTS, Evidence, Row
from plan import UPLOAD_SECONDS

FINAL = ("completed", "failed", "cancelled")
LEGAL = {
    ("queued", "processing"), ("queued", "cancelled"), ("processing", "queued"), ("processing", "completed"),
    ("processing", "failed"), ("processing", "cancelled"), ("failed", "queued"), ("cancelled", "queued"),
}  # fmt: skip
"""Steps that a job's status may take; those from an end only when its user asks for it again."""


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold, for what, and how one sees that."""

    invariant: str
    subject: str
    what: str


Finding = tuple[object, str]


def check(evidence: Evidence) -> list[Violation]:
    """Every violation."""
    return [
        Violation(name, str(subject), what)
        for name, invariant in INVARIANTS.items()
        for subject, what in invariant(evidence)
    ]


def every_job_ends(evidence: Evidence) -> Iterator[Finding]:
    """Every order has its job, and every job an end, as its row says in each column."""
    jobs = {job["id"]: job for job in evidence.jobs}
    for order in evidence.orders:
        if order.id not in jobs:
            yield order.id, "there is no such job"
    for job in jobs.values():
        if job["status"] not in FINAL:
            yield job["id"], f"is {job['status']}"
        elif job["worker_id"] or job["queue_at"] or job["available_at"] or not job["completed_at"]:
            yield job["id"], f"is {job['status']} and still held, in line or without its end"


def ends_have_reasons(evidence: Evidence) -> Iterator[Finding]:
    """A job fails because it was told to, or after its last attempt; it is cancelled by its user; else it completes."""
    orders = {order.id: order for order in evidence.orders}
    for job in evidence.jobs:
        order, status = orders[job["id"]], job["status"]
        asked_again = evidence.repeated.get(job["id"], 0)
        if status == "completed" and order.raises:
            yield job["id"], f"is completed, and each attempt raised {order.raises}"
        if status == "cancelled" and job["id"] not in evidence.cancelled:
            yield job["id"], "is cancelled, and nobody did that"
        if job["id"] in evidence.cancelled and status != "cancelled" and not asked_again:
            yield job["id"], f"is {status}, and was cancelled before"
        if status == "failed" and order.raises != "RejectedError" and job["attempts"] < MAX_ATTEMPTS:
            yield job["id"], f"is failed after {job['attempts']} attempts: {job['error_message']}"


def attempts_are_bounded(evidence: Evidence) -> Iterator[Finding]:
    """No attempt beyond the last, not even for a moment."""
    highest: Counter[str] = Counter()
    for change in evidence.changes:
        if change.table == "jobs" and change.kind != "delete":
            highest[str(change.row["id"])] = max(highest[str(change.row["id"])], int(change.row["attempts"] or 0))
    for job_id, attempts in highest.items():
        if attempts > MAX_ATTEMPTS:
            yield job_id, f"had {attempts} attempts"


def attempts_have_reasons(evidence: Evidence) -> Iterator[Finding]:
    """Each attempt but the last left an error that explains it; a worker that was well lost nothing."""
    orders = {order.id: order for order in evidence.orders}
    for job in evidence.jobs:
        told = [error for error in job["errors"] if not error.get("given_back")]
        burnt = job["attempts"] - (job["status"] != "failed")
        if job["status"] != "cancelled" and burnt > len(told):
            yield job["id"], f"{job['attempts']} attempts, and {len(told)} errors"
        for error in told:
            if error["type"] == "WorkerLost":
                if not evidence.excused.get(str(error["worker"])):
                    yield job["id"], f"attempt {error['attempt']} was taken from {error['worker']}, which was well"
            elif error["type"] == "StorageUnavailableError":
                if evidence.tried[str(job["id"])] < TRIES * UPLOAD_SECONDS:
                    yield job["id"], f"attempt {error['attempt']} gave up its uploads too soon"
            elif error["type"] != orders[job["id"]].raises:
                yield job["id"], f"attempt {error['attempt']} ended with {error['type']}: {error['message']}"


def rows_belong_together(evidence: Evidence) -> Iterator[Finding]:
    """Each job has one row for each of its images, and there are no others."""
    counts = {order.id: order.count for order in evidence.orders}
    indexes = defaultdict(list)
    for image in evidence.images:
        indexes[image["job_id"]].append(image["image_index"])
        if not image["managed"]:
            yield image["id"], "is a row that the application would have made"
    for job_id in indexes.keys() - counts:
        yield job_id, f"images without a job: {indexes[job_id]}"
    for job in evidence.jobs:
        if sorted(indexes[job["id"]], key=str) != list(range(counts[job["id"]])):
            yield job["id"], f"{counts[job['id']]} images are asked for, and the rows are {indexes[job['id']]}"
    for video in evidence.videos:
        yield video["id"], "is a video"


def rows_agree(evidence: Evidence) -> Iterator[Finding]:
    """The images of a job have ended as the job has, or were completed before; the job tells what its images tell."""
    for job, images in jobs_with_images(evidence):
        for image in images:
            if image["status"] not in ("completed", job["status"]):
                yield job["id"], f"is {job['status']}, and its image {image['image_index']} {image['status']}"
        if job["status"] == "completed":
            told = job["metadata"].get("assets") or []
            if [each["url"] for each in told] != [image["image_url"] for image in images]:
                yield job["id"], f"tells of {[each['url'] for each in told]}"
            elif any(
                each["metadata"]["file_size_bytes"] != image["file_size"] or each["metadata"]["seed"] != image["seed"]
                for each, image in zip(told, images, strict=True)
            ):
                yield job["id"], "tells of other sizes or seeds than its images"
            if job["image_id"] != images[0]["id"] or job["metadata"].get("progress") != 100:
                yield job["id"], "is completed without its first image or its whole progress"


def objects_match(evidence: Evidence) -> Iterator[Finding]:
    """Behind each completed image is its object, of the size, the shape and the colour that the row tells."""
    orders = {order.id: order for order in evidence.orders}
    for job, images in jobs_with_images(evidence):
        order, folder = orders[job["id"]], f"{job['user_id']}/{job['id']}"
        for image in images:
            if image["status"] != "completed":
                continue
            index = image["image_index"]
            if image["image_url"] != f"{folder}/{index}.png" or image["seed"] != order.seed + index:
                yield job["id"], f"image {index} tells of {image['image_url']} and the seed {image['seed']}"
            elif wrong := wrong_with(image, evidence.objects.get(image["image_url"])):
                yield job["id"], f"image {index} {wrong}"
            elif wrong := wrong_thumbnail(evidence.objects.get(f"{folder}/{index}.thumb.webp")):
                yield job["id"], f"the thumbnail of image {index} {wrong}"


def wrong_with(image: Row, data: bytes | None) -> str | None:
    """What is wrong with the bytes of a picture whose row this is."""
    if data is None:
        return "has no object"
    if not len(data) == image["file_size"] == image["metadata"]["file_size_bytes"]:
        return f"has {len(data)} bytes, and its row says {image['file_size']}"
    try:
        with Image.open(BytesIO(data)) as picture:
            size, colours = picture.size, np.asarray(picture).reshape(-1, 3)
    except (UnidentifiedImageError, OSError) as error:
        return f"is no picture: {error}"
    if size != (image["metadata"]["width"], image["metadata"]["height"]):
        return f"is {size}"
    if {int.from_bytes(colour.tobytes(), "big") for colour in colours} != {image["seed"]}:
        return "has another colour than its seed's"
    return None


def wrong_thumbnail(data: bytes | None) -> str | None:
    """What is wrong with these bytes of a thumbnail."""
    if data is None:
        return "has no object"
    try:
        with Image.open(BytesIO(data)) as picture:
            picture.load()
    except (UnidentifiedImageError, OSError) as error:
        return f"is no picture: {error}"
    return None


def objects_have_their_keys(evidence: Evidence) -> Iterator[Finding]:
    """Nothing is stored but under the keys of the jobs' images."""
    keys = {
        f"{evidence.users[order.user]}/{order.id}/{index}.{kind}"
        for order in evidence.orders for index in range(order.count) for kind in ("png", "thumb.webp")
    }  # fmt: skip
    for key in evidence.objects.keys() - keys:
        yield key, "nobody asked for it"


def ends_are_final(evidence: Evidence) -> Iterator[Finding]:
    """No row changed after its end, but that a user asked for its job again; each status follows from the last."""
    last: dict[Any, str] = {}
    again: Counter[str] = Counter()
    asked = {str(job_id): times for job_id, times in evidence.repeated.items()}
    owner = {str(image["id"]): str(image["job_id"]) for image in evidence.images}
    for change in evidence.changes:
        subject, status = (change.table, change.row["id"]), change.row.get("status") or "deleted"
        before = last.get(subject)
        last[subject] = status
        if before is None or (before == status and status not in FINAL):
            continue
        job = str(change.row["id"]) if change.table == "jobs" else owner.get(str(change.row["id"]), "")
        step = (before, status)
        allowed = step in LEGAL or (change.table == "images" and step in MORE_OF_IMAGES)
        if before in ("failed", "cancelled") and allowed:
            again[job] += change.table == "jobs"
            allowed = again[job] <= asked.get(job, 0) and (change.table == "jobs" or again[job] > 0)
        if not allowed:
            yield job, f"{change.table} {change.row['id']} went from {before} to {status}"


MORE_OF_IMAGES = {("queued", "completed"), ("queued", "failed")}
"""An image without a progress is never processing."""


def images_are_published_once(evidence: Evidence) -> Iterator[Finding]:
    """Realtime told of each completed image, once."""
    told = Counter(
        str(change.row["id"]) for change in evidence.changes
        if change.table == "images" and change.kind == "update" and change.row["status"] == "completed"
    )  # fmt: skip
    for image in evidence.images:
        times = told[str(image["id"])]
        if times != (image["status"] == "completed"):
            yield image["job_id"], f"image {image['image_index']} was published completed {times} times"


def claims_are_new(evidence: Evidence) -> Iterator[Finding]:
    """A job changes hands only by a claim, which has a number that no claim had before."""
    last: dict[str, tuple[str | None, str | None]] = {}
    used: set[str] = set()
    for change in evidence.changes:
        if change.table != "jobs" or change.kind == "delete":
            continue
        row = change.row
        before, last[str(row["id"])] = last.get(str(row["id"])), (row["status"], row["claim_id"])
        if before is None or row["claim_id"] == before[1]:
            continue
        if row["claim_id"] in used or (before[0], row["status"]) != ("queued", "processing"):
            yield row["id"], f"went from {before} to claim {row['claim_id']}"
        used.add(str(row["claim_id"]))


def workers_are_gone(evidence: Evidence) -> Iterator[Finding]:
    """Of workers that have left, and of those that died, no row stays, unless the last of all could not say so."""
    for worker in evidence.workers:
        if str(worker["id"]) not in evidence.unheard:
            yield worker["id"], f"{worker['name']} still has a row"


def jobs_with_images(evidence: Evidence) -> Iterator[tuple[Row, list[Row]]]:
    """Each job with its images, in order of index."""
    images = defaultdict(list)
    for image in sorted(evidence.images, key=lambda image: image["image_index"] or 0):
        images[image["job_id"]].append(image)
    for job in evidence.jobs:
        if images[job["id"]]:
            yield job, images[job["id"]]


INVARIANTS: dict[str, Callable[[Evidence], Iterator[Finding]]] = {
    invariant.__name__.replace("_", " "): invariant
    for invariant in (
        every_job_ends, ends_have_reasons, attempts_are_bounded, attempts_have_reasons,
        rows_belong_together, rows_agree, objects_match, objects_have_their_keys,
        ends_are_final, images_are_published_once, claims_are_new, workers_are_gone,
    )
}  # fmt: skip
