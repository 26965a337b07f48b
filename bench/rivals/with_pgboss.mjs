// pg-boss: `setup DSN JOBS` or `work DSN SETTINGS` (batch, burst, concurrency, notify, heartbeat, every).

import { PgBoss } from "pg-boss";
import { handler, say } from "./told.mjs";

const [verb, connectionString, rest] = process.argv.slice(2);

async function setup(jobs) {
  const boss = await new PgBoss({ connectionString, supervise: false, schedule: false }).start();
  await boss.createQueue("noop");
  for (let left = jobs; left > 0; left -= 5000)
    await boss.insert("noop", Array.from({ length: Math.min(5000, left) }, () => ({ data: {} })));
  await boss.stop();
}

async function work({ batch = 1, burst = false, concurrency = 1, notify = false, heartbeat, every }) {
  const boss = new PgBoss({ connectionString, useListenNotify: notify });
  boss.on("error", (error) => console.error(error));
  await boss.start();
  if (notify) await boss.updateQueue("noop", { notify });
  if (heartbeat) await boss.updateQueue("noop", { heartbeatSeconds: heartbeat });
  const handle = handler(every);
  const options = { batchSize: batch, burstWhenBatchFull: burst, localConcurrency: concurrency };
  await boss.work("noop", options, (jobs) => Promise.all(jobs.map((job) => handle(job.data))));
  say("ready");
}

await (verb === "setup" ? setup(Number(rest)) : work(JSON.parse(rest)));
