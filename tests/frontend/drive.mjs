// The example at work: each line of stdin is a call as JSON, each line of stdout what came of it.

import { createInterface } from "node:readline";
import { createClient } from "@supabase/supabase-js";
import { cancelJob, retryJob, signPaths, submitJob, watchJobs } from "./consumer.js";

const [url, token] = process.argv.slice(2);
const client = createClient(url, "publishable", { accessToken: async () => token });
const say = (name, value) => console.log(JSON.stringify({ [name]: value }));
const watches = [];

const calls = {
  submit: (type, prompt, fields, id) => submitJob(client, type, prompt, fields, id),
  cancel: (id) => cancelJob(client, id),
  retry: (id) => retryJob(client, id),
  sign: async (paths) => Object.fromEntries(await signPaths(client, paths, 60)),
  watch: (whose, options) => {
    const onError = (error) => say("error", String(error.message ?? error));
    watches.push(watchJobs(client, whose, (jobs) => say("shown", jobs), { ...options, onError }));
  },
  tick: (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds)),
  refetch: () => watches[0].refetch(),
  close: () => Promise.all(watches.map((watch) => watch.close())),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...sent] = JSON.parse(line);
  try {
    say(name, (await calls[name](...sent)) ?? null);
  } catch (error) {
    say(name, { code: error.code, message: error.message });
  }
}
await calls.close();
process.exit(); // timers of the client would keep the process for ten seconds
