"""Procrastinate: `setup DSN JOBS` or `work DSN SETTINGS` (recipe, thread, every)."""

import asyncio

import procrastinate
from told import Handler, say, settings


async def setup(dsn: str, jobs: int) -> None:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn))
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        task = app.configure_task("noop", allow_unknown=True)
        for first in range(0, jobs, 5_000):
            await task.batch_defer_async(*[{"payload": "{}"}] * min(5_000, jobs - first))


async def work(dsn: str, recipe: bool = False, thread: bool = False, every: int | None = None) -> None:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn))
    handler = Handler(every)
    if thread:
        app.task(handler.handle_in_thread, name="noop")
    else:

        @app.task(name="noop")
        async def noop(payload: str) -> None:
            await handler.handle(payload)

    if recipe:
        # As its documentation proposes; by itself it queues nothing again.
        @app.periodic(cron="* * * * *")
        @app.task(queueing_lock="retry_stalled_jobs", pass_context=True)
        async def retry_stalled_jobs(context: procrastinate.JobContext, timestamp: int) -> None:  # noqa: ARG001
            for job in await app.job_manager.get_stalled_jobs():
                await app.job_manager.retry_job(job)

    async with app.open_async():
        say("ready")
        await app.run_worker_async(concurrency=10)


if __name__ == "__main__":
    verb, dsn, rest = settings()
    asyncio.run(setup(dsn, **rest) if verb == "setup" else work(dsn, **rest))
