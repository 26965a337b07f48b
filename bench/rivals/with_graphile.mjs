// graphile-worker: `setup DSN JOBS` or `work DSN SETTINGS` (localQueue, every).

import { Logger, makeWorkerUtils, run } from "graphile-worker";
import { handler, say } from "./told.mjs";

const [verb, connectionString, rest] = process.argv.slice(2);
const logger = new Logger(() => () => {});

async function setup(jobs) {
  const utils = await makeWorkerUtils({ connectionString, logger });
  await utils.migrate();
  for (let left = jobs; left > 0; left -= 5000)
    await utils.addJobs(Array.from({ length: Math.min(5000, left) }, () => ({ identifier: "noop", payload: {} })));
  await utils.release();
}

async function work({ localQueue, every }) {
  const batches = localQueue ? { localQueue: { size: localQueue }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } : {};
  const handle = handler(every);
  const runner = await run({
    preset: { worker: { connectionString, concurrentJobs: 10, logger, ...batches } },
    taskList: { noop: handle },
  });
  say("ready");
  await runner.promise;
}

await (verb === "setup" ? setup(Number(rest)) : work(JSON.parse(rest)));
