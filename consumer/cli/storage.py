"""What the storage holds: the results of one job, its objects, and objects of any job that no row tells of."""

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from rich.filesize import decimal
from rich.markup import escape

from consumer import client, unrecorded
from consumer.cli.terminal import ago, console, print_json, table
from consumer.client import AssetView, Connection, find, operator
from consumer.settings import load_settings
from consumer.statements import query
from consumer.storage import open_storage
from consumer.storage.base import Storage, StoredObject

YEAR = 366 * 24 * 3600
AGE = re.compile(r"([0-9]{1,5})([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `consumer storage`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    sign = actions.add_parser("sign", help="addresses that show the results of a job for a while")
    listed = actions.add_parser("ls", help="the objects of a job, and whether a row tells of each")
    sweep = actions.add_parser("sweep", help="objects of any job that no row tells of")
    for action in (sign, listed):
        action.add_argument("id", metavar="JOB", help="the job's ID, or its first 6 characters or more")
        action.add_argument("--json", action="store_true", help="print a JSON array")
    sign.add_argument("--seconds", type=seconds, default=3600, metavar="N", help="for so long (default: 3600)")
    sweep.add_argument(
        "--older-than", type=age, default="24h", metavar="AGE", help="such as 30m, 24h or 7d (default: 24h)"
    )
    sweep.add_argument("--user", type=user_id, metavar="UUID", help="only those of this user")
    sweep.add_argument("--delete", action="store_true", help="remove them")
    sweep.add_argument("--json", action="store_true", help="print one JSON object a line")


def seconds(text: str) -> int:
    """How long an address is good."""
    if re.fullmatch("[0-9]{1,9}", text) and 1 <= int(text) <= YEAR:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {YEAR}.")


def age(text: str) -> timedelta:
    """`24h` as a length of time."""
    if parts := AGE.fullmatch(text):
        return timedelta(**{UNITS[parts[2]]: int(parts[1])})
    raise argparse.ArgumentTypeError("must be a whole number up to 99999 with s, m, h or d after it, such as 24h.")


def user_id(text: str) -> UUID:
    """A user."""
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a UUID.") from None


def run(args: argparse.Namespace) -> int:
    """Do what `args.action` names."""
    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    act: Mapping[str, Callable[[Storage, Connection, argparse.Namespace], Awaitable[int]]] = {
        "sign": _sign, "ls": _ls, "sweep": _sweep,
    }  # fmt: skip
    settings = load_settings()
    with operator(settings.require_database_url()) as connection:
        storage = open_storage(settings)
        try:
            return await act[args.action](storage, connection, args)
        finally:
            await storage.close()


async def _sign(storage: Storage, connection: Connection, args: argparse.Namespace) -> int:
    job = _job(connection, args.id)
    [view] = client.read(connection, [job["id"]])
    paths = [path for asset in view.assets for path in (asset.url, asset.thumbnail_url)]
    urls = await storage.sign([path for path in paths if path and _inside(path, job)], args.seconds)
    if args.json:
        print_json([_signed(asset, urls) for asset in view.assets])
    else:
        for path in paths:
            if path in urls:
                print(urls[path])
    missing = [sentence for asset in view.assets for sentence in _missing(asset, urls, job, storage.bucket)]
    for sentence in missing:
        print(sentence, file=sys.stderr)
    return 1 if missing else 0


def _inside(path: str, job: Mapping[str, Any]) -> bool:
    # A row may be its user's to write, and must not show what another user has.
    return path.startswith(f"{job['user_id']}/") and not {"", ".", ".."} & set(path.split("/"))


def _signed(asset: AssetView, urls: Mapping[str, str]) -> dict[str, Any]:
    return {
        "medium": asset.medium,
        "index": asset.index,
        "path": asset.url,
        "url": urls.get(asset.url or ""),
        "thumbnail_path": asset.thumbnail_url,
        "thumbnail_url": urls.get(asset.thumbnail_url or ""),
    }


def _missing(asset: AssetView, urls: Mapping[str, str], job: Mapping[str, Any], bucket: str) -> list[str]:
    """A sentence for each address that this asset should have and has not."""
    name = f"{asset.medium} {asset.index}"
    if not asset.url:
        return [f"There is no result yet for {name}."]
    sentences = []
    for path, what in ((asset.url, name), (asset.thumbnail_url, f"the thumbnail of {name}")):
        if path and not _inside(path, job):
            sentences.append(f"The row of {what} names what is not in the folder of its user.")
        elif path and path not in urls:
            sentences.append(f"The bucket {bucket} does not have {what}, which its row names.")
    return sentences


async def _ls(storage: Storage, connection: Connection, args: argparse.Namespace) -> int:
    job = _job(connection, args.id)
    objects = [each async for each in storage.ls(f"{job['user_id']}/{job['id']}")]
    told = unrecorded.own(connection, [each.key for each in objects])
    if args.json:
        print_json([_facts(each) | {"recorded": told[each.key]["told"]} for each in objects])
        return 0
    if not objects:
        print("No objects.")
        return 0
    rows = table("object", "size", "created", "recorded", right=("size",))
    for each in objects:
        recorded = "yes" if told[each.key]["told"] else "[yellow]no[/]"
        rows.add_row(escape(each.key), decimal(each.size), ago(each.created_at), recorded)
    console().print(rows)
    return 0


async def _sweep(storage: Storage, connection: Connection, args: argparse.Namespace) -> int:
    count = total = 0
    async for each in unrecorded.sweep(storage, connection, args.older_than, args.user, delete=args.delete):
        count, total = count + 1, total + each.size
        if args.json:
            print(json.dumps(_facts(each) | {"removed": args.delete}))
        else:
            print(f"{each.key}  {decimal(each.size)}  {ago(each.created_at)}")
    if not count and not args.json:
        print("Nothing was found that no row tells of.")
    elif not args.json:
        objects = f"{count} object{'' if count == 1 else 's'}, {decimal(total)}"
        print(f"Removed {objects}." if args.delete else f"No row tells of {objects}; --delete removes them.")
    return 0


def _job(connection: Connection, text: str) -> dict[str, Any]:
    [job] = connection.execute(query("show_job"), {"job_id": find(connection, text)}).fetchall()
    return job


def _facts(each: StoredObject) -> dict[str, Any]:
    return {"key": each.key, "size": each.size, "created_at": each.created_at.isoformat()}
