"""Insert a job as a frontend would: as the role `authenticated`, with a user's claims; watch it if asked to."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from consumer import client
from consumer.cli.bars import Bars
from consumer.cli.terminal import console, print_json
from consumer.errors import UsageError
from consumer.interruption import Interruption
from consumer.job import Status
from consumer.job_types import load
from consumer.settings import Settings, load_settings
from consumer.statements import query


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `consumer submit`."""
    parser.add_argument("job_type", metavar="TYPE", help="a job type; `consumer job-types list` names them")
    parser.add_argument("prompt", metavar="PROMPT", help="what to show")
    parser.add_argument("-n", "--num-images", type=int, metavar="N", help="how many images")
    parser.add_argument(
        "--seed", type=int, metavar="S", help="the seed of the first image; the next ones have S+1, ..."
    )
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="K=V",
        help="one field of the request, like steps=30 or aspect_ratio=16:9; V is JSON, or else a text",
    )
    parser.add_argument("--user", metavar="UUID", help="whose job it is; not needed while there is one user only")
    parser.add_argument("--wait", action="store_true", help="show the progress until the job has ended")
    parser.add_argument("--json", action="store_true", help="print one JSON object: id, status, assets")


def run(args: argparse.Namespace) -> int:
    """Submit, and wait if asked to: 0 submitted (or completed), 1 failed or cancelled."""
    metadata = request(args)
    settings = load_settings()
    with client.operator(settings.require_database_url()) as connection:
        check_job_type(connection, args.job_type, settings)
        user = client.Client(connection, user_id(connection, args.user))
        job_id = user.submit(args.job_type, args.prompt, metadata)
        if args.wait:
            return _wait(user, job_id, as_json=args.json)
        if args.json:
            print_json(summary(user.read([job_id])[0]))
        else:
            print(f"Submitted {job_id}; `consumer jobs show {str(job_id)[:8]}` tells how it stands.")
    return 0


def request(args: argparse.Namespace) -> dict[str, Any]:
    """The job's metadata as a frontend sends it; raises UsageError for a --param without `=`."""
    metadata: dict[str, Any] = {}
    for param in args.param:
        name, equals, text = param.partition("=")
        if not (name and equals):
            raise UsageError(f"--param must be like steps=30; {param!r} is not.")
        metadata[name] = value(text)
    named = {"num_images": args.num_images, "seed": args.seed}
    return metadata | {name: number for name, number in named.items() if number is not None}


def value(text: str) -> Any:
    """`text` as JSON where it is JSON (and not NaN or Infinity, which Postgres does not take), else as it is."""
    try:
        return json.loads(text, parse_constant=lambda constant: constant)
    except ValueError:
        return text


def check_job_type(connection: client.Connection, name: str, settings: Settings) -> None:
    """Raise UsageError for a job type that the database does not know: nobody would ever take such a job."""
    known = sorted(row["job_type"] for row in connection.execute(query("known_job_types")))
    if name in known:
        return
    if name in load(settings.job_types):
        raise UsageError(f"The database does not know the job type {name} yet: run `consumer job-types push`.")
    raise UsageError(f"There is no job type {name!r}; there are: {', '.join(known)}.")


def user_id(connection: client.Connection, text: str | None) -> UUID:
    """The user that `text` names, else the only one that there is; raises UsageError."""
    if text is not None:
        try:
            return UUID(text)
        except ValueError:
            raise UsageError(f"--user must be the id (a UUID) of a row in auth.users; {text!r} is not.") from None
    users = [row["id"] for row in connection.execute(query("only_user"))]
    if len(users) == 1:
        return UUID(str(users[0]))
    if users:
        raise UsageError("There is more than one user in auth.users: say whose job it is with --user UUID.")
    raise UsageError("There is no user in auth.users yet, and a job belongs to one: sign one up first.")


def summary(job: client.JobView) -> dict[str, Any]:
    """What a script wants to know."""
    assets = [asdict(asset) for asset in job.assets]
    return {"id": job.id, "status": job.status, "error_message": job.error_message, "assets": assets}


def _wait(user: client.Client, job_id: UUID, *, as_json: bool) -> int:
    jobs: Sequence[client.JobView] = []
    out, interruption = console(error=as_json), Interruption()
    try:
        out.print(f"Submitted {job_id}.")
        with Bars(out) as bars:
            for jobs in client.follow(lambda: user.read([job_id])):
                bars.show(jobs)
                interruption.check()
    except KeyboardInterrupt:
        print(f"The job goes on; `consumer jobs show {str(job_id)[:8]}` tells how it stands.", file=sys.stderr)
        return interruption.exit_code
    finally:
        interruption.over()
    if not jobs:
        raise UsageError(f"The job {job_id} was deleted meanwhile.")
    [job] = jobs
    if as_json:
        print_json(summary(job))
    if job.status == Status.completed:
        return 0
    print(f"The job {job_id} is {job.outcome}", file=sys.stderr)
    return 1
