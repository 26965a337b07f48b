"""A Supabase project as far as the example frontend talks to it: REST, Realtime and signing, on a real database.

The answers are the database's own, asked as the user, and Realtime tells what the real publication tells. A test may
hold answers back, drop connections, and let Realtime be late. The access token of a user is a JWT without a signature.
"""

import asyncio
import base64
import json
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import psycopg
from aiohttp import WSMsgType, web
from psycopg.types.json import Jsonb

from decoding import Change, Publication
from postgres import Database

SELECT = "*,images!images_job_id_fkey(*),videos!videos_job_id_fkey(*)"
FETCH = """
select coalesce(jsonb_agg(to_jsonb(j) || jsonb_build_object(
  'images', (select coalesce(jsonb_agg(to_jsonb(i)), '[]') from images i where i.job_id = j.id),
  'videos', (select coalesce(jsonb_agg(to_jsonb(v)), '[]') from videos v where v.job_id = j.id)
) order by j.created_at desc), '[]')
from (select * from jobs where {column} = %s order by created_at desc limit %s) j
"""
TYPES = """
select attname, atttypid::regtype::text, typname from pg_attribute join pg_type t on t.oid = atttypid
where attrelid = %s::regclass and attnum > 0 and not attisdropped
"""
Json = dict[str, Any]


def token(user: UUID) -> str:
    """An access token as the example's client takes it."""
    parts = ({"alg": "none"}, {"sub": str(user), "role": "authenticated", "exp": 4102444800})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".x"


def user_of(request: web.Request) -> UUID:
    payload = request.headers["authorization"].split(".")[1]
    return UUID(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"])


class Subscriber:
    """One joined channel: where it listens, and for what."""

    def __init__(
        self, request: web.Request, socket: web.WebSocketResponse, join_ref: str, topic: str, wanted: list[Json]
    ) -> None:
        self.request = request
        self.socket = socket
        self.join_ref = join_ref
        self.topic = topic
        self.wanted = [each | {"id": number} for number, each in enumerate(wanted, 1)]
        self.attached = False

    async def send(self, event: str, payload: Json, ref: str | None = None) -> None:
        await self.socket.send_str(json.dumps([self.join_ref, ref, self.topic, event, payload]))

    def ids(self, change: Change) -> list[int]:
        """The subscriptions that this change is for; a DELETE is for all of its table."""
        return [
            each["id"]
            for each in self.wanted
            if each["table"] == change.table and (change.kind == "delete" or matches(each["filter"], change))
        ]


def matches(condition: str, change: Change) -> bool:
    column, _, value = condition.partition("=eq.")
    return change.row.get(column) == value


class Gateway:
    """`with Gateway(db) as gateway:` serves `gateway.url` until the block ends."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.url = ""
        self.attaches = threading.Event()
        """Realtime really tells changes; before, a channel is joined and hears nothing."""
        self.attaches.set()
        self.answers = threading.Event()
        """Queries are answered; before, the answer is found and kept back."""
        self.answers.set()
        self.queries = 0
        """How many answers were found, kept back or not."""
        self.open = True
        """Realtime lets clients in."""
        self._subscribers: list[Subscriber] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._publication = Publication(self.db)
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._publication.__exit__()

    def drop(self) -> None:
        """Cut every Realtime connection, as a network does."""
        self._call(self._drop())

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        application = web.Application()
        application.router.add_get("/rest/v1/jobs", self._fetch)
        application.router.add_post("/rest/v1/jobs", self._insert)
        application.router.add_post("/rest/v1/rpc/{name}", self._rpc)
        application.router.add_post("/storage/v1/object/sign/{bucket}", self._sign)
        application.router.add_get("/realtime/v1/websocket", self._realtime)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._pump = asyncio.create_task(self._tell())

    async def _stop(self) -> None:
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        await self._drop()
        await self._runner.cleanup()

    async def _drop(self) -> None:
        dropped, self._subscribers = self._subscribers, []
        for subscriber in dropped:
            if subscriber.request.transport:
                subscriber.request.transport.abort()

    # REST and Storage: the database's own answers.

    async def _ask(self, request: web.Request, work: Callable[[Any], Any]) -> web.Response:
        try:
            with self.db.as_user(user_of(request)) as connection:
                return web.json_response(work(connection))
        except psycopg.Error as error:
            body = {"code": error.sqlstate, "message": error.diag.message_primary, "details": None, "hint": None}
            return web.json_response(body, status=409 if error.sqlstate == "23505" else 400)

    async def _fetch(self, request: web.Request) -> web.Response:
        assert request.query["select"] == SELECT
        assert request.query["order"] == "created_at.desc"
        [column] = {"id", "user_id"} & set(request.query)
        value = request.query[column].removeprefix("eq.")
        statement = FETCH.format(column=column).encode()
        answer = await self._ask(
            request, lambda connection: connection.execute(statement, (value, request.query["limit"])).fetchone()[0]
        )
        self.queries += 1
        await asyncio.to_thread(self.answers.wait, 20)
        return answer

    async def _insert(self, request: web.Request) -> web.Response:
        sent = await request.json()
        names = ", ".join(sent)
        statement = f"insert into jobs ({names}) select {names} from jsonb_populate_record(null::jobs, %s)"
        return await self._ask(request, lambda connection: connection.execute(statement, (Jsonb(sent),)).statusmessage)

    async def _rpc(self, request: web.Request) -> web.Response:
        statement = f"select public.{request.match_info['name']}(%s)"
        job_id = (await request.json())["job_id"]
        return await self._ask(request, lambda connection: connection.execute(statement, (job_id,)).fetchone()[0])

    async def _sign(self, request: web.Request) -> web.Response:
        bucket, sent = request.match_info["bucket"], await request.json()
        seen = "select name from storage.objects where bucket_id = %s and name = any (%s)"
        missing = "Either the object does not exist or you do not have access to it"

        def sign(connection: Any) -> list[Json]:
            found = {name for (name,) in connection.execute(seen, (bucket, sent["paths"]))}
            return [
                {"error": None, "path": path, "signedURL": f"/object/sign/{bucket}/{path}?token={sent['expiresIn']}"}
                if path in found
                else {"error": missing, "path": path, "signedURL": None}
                for path in sent["paths"]
            ]

        return await self._ask(request, sign)

    # Realtime: what the publication tells.

    async def _realtime(self, request: web.Request) -> web.StreamResponse:
        if not self.open:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            join_ref, ref, topic, event, payload = json.loads(message.data)
            response: Json = {}
            if event == "phx_join":
                subscriber = Subscriber(request, socket, join_ref, topic, payload["config"]["postgres_changes"])
                self._subscribers.append(subscriber)
                response = {"postgres_changes": subscriber.wanted}
            elif event == "phx_leave":
                self._subscribers = [each for each in self._subscribers if each.topic != topic]
            if event in ("phx_join", "phx_leave", "heartbeat"):
                reply = [join_ref, ref, topic, "phx_reply", {"status": "ok", "response": response}]
                await socket.send_str(json.dumps(reply))
        return socket

    async def _tell(self) -> None:
        while True:
            changes = self._publication.read()
            for subscriber in [each for each in self._subscribers if not each.socket.closed]:
                for change in changes if subscriber.attached else []:
                    if ids := subscriber.ids(change):
                        await subscriber.send("postgres_changes", {"ids": ids, "data": self._data(change)})
                if self.attaches.is_set() and not subscriber.attached:
                    subscriber.attached = True
                    told = {"extension": "postgres_changes", "status": "ok", "message": "Subscribed to PostgreSQL"}
                    await subscriber.send("system", told | {"channel": subscriber.topic})
            await asyncio.sleep(0.01)

    def _data(self, change: Change) -> Json:
        with psycopg.connect(self.db.dsn) as connection:
            types = connection.execute(TYPES, (f"public.{change.table}",)).fetchall()
        part = "old_record" if change.kind == "delete" else "record"
        row = {"id": change.row["id"]} if change.kind == "delete" else change.row
        return {
            "schema": "public", "table": change.table, "type": change.kind.upper(), "errors": None,
            "commit_timestamp": "2026-01-01T00:00:00Z", "columns": [{"name": n, "type": t} for n, _, t in types],
            "record": {}, "old_record": {}, part: row,
        }  # fmt: skip
