// What told.py says, for the workers in JavaScript.

export const say = (...words) => process.stdout.write(words.join(" ") + "\n");

// Returns the handler of one payload, a JSON text or what it stands for.
export function handler(every) {
  let count = 0;
  return async (payload) => {
    if (every) {
      count += 1;
      if (count === 1 || count % every === 0) say("mark", count, process.hrtime.bigint());
      return;
    }
    const job = typeof payload === "string" ? JSON.parse(payload) : payload;
    say("start", job.n, process.hrtime.bigint());
    const milliseconds = (job.seconds ?? 0) * 1000;
    if (job.how === "wait") await new Promise((resolve) => setTimeout(resolve, milliseconds));
    else if (job.how === "busy") for (const until = Date.now() + milliseconds; Date.now() < until; );
    else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
    say("end", job.n, process.hrtime.bigint());
  };
}
