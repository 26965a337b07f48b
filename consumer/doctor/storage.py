"""Where the results go: a bucket of the project, or a folder."""

import shutil
from email.utils import parsedate_to_datetime

from consumer.doctor.bucket import altered, described
from consumer.doctor.finding import Finding, Findings, note, ok, skip, wrong
from consumer.doctor.probe import probe
from consumer.doctor.subject import Subject

NEEDED = ("image/png", "image/webp", "video/mp4")
LEAST_LIMIT = 50 * 1024**2
"""Bytes: what a bucket should take at least, for a video is a few dozen MiB."""
ROOM, COMFORT = 100 * 1024**2, 2 * 1024**3
"""Free bytes of the local storage below which it is full, or nearly."""
CLOCK_SECONDS = 30.0


def bucket(subject: Subject) -> Findings:
    """The bucket is there, private, and takes what we make; or the folder has room."""
    if subject.settings.storage == "local":
        yield room(subject)
        return
    name, found = subject.settings.bucket, described(subject).json
    good = True
    if found["public"]:
        good = False
        yield wrong(
            f"The bucket {name} is public: everybody reads everything.",
            altered(name, "public = false"),
        )
    types = found.get("allowed_mime_types")
    if lacks := [each for each in NEEDED if types and each not in types and f"{each.split('/')[0]}/*" not in types]:
        good = False
        added = ", ".join(f"'{each}'" for each in lacks)
        yield wrong(
            f"The bucket {name} does not take {', '.join(lacks)}.",
            altered(name, f"allowed_mime_types = allowed_mime_types || array[{added}]"),
        )
    limit = found.get("file_size_limit")
    if limit and limit < LEAST_LIMIT:
        good = False
        yield note(
            f"The bucket {name} takes files of up to {limit / 1024**2:.1f} MiB, and a video may be larger.",
            altered(name, "file_size_limit = null"),
        )
    if good:
        yield ok(f"The bucket {name} is there, is private, and takes pictures and videos.")


def clock(subject: Subject, here: float = 0.0) -> Findings:
    """This machine's clock, with `here` seconds added, and the storage's agree: signed URLs end by the latter."""
    if subject.settings.storage == "local":
        yield skip("A folder has no clock.")
        return
    reply = described(subject)
    told = reply.headers.get("Date")
    if told is None:
        yield skip("The storage did not tell its time.")
        return
    apart = abs(reply.received_at + here - parsedate_to_datetime(told).timestamp())
    if apart > CLOCK_SECONDS:
        yield wrong(
            f"The clocks of this machine and the storage are {apart:.0f} seconds apart.", "timedatectl set-ntp true"
        )
    else:
        yield ok("The clocks of this machine and the storage agree.")


def room(subject: Subject) -> Finding:
    """Whether the disk of the local storage is full."""
    folder = subject.settings.storage_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < ROOM:
        return wrong(f"The local storage has {free // 1024**2} MiB left.", "Make room, or set CONSUMER_STORAGE_DIR.")
    if free < COMFORT:
        return note(
            f"The local storage has only {free // 1024**2} MiB left.", "Make room, or set CONSUMER_STORAGE_DIR."
        )
    return ok(f"The local storage has {free // 1024**3} GiB left.")


CHECKS = (bucket, clock, probe)
