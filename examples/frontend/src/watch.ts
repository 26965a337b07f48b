// Shows how jobs stand, now and whenever something changes: Realtime makes it fast, queries make it true.

import type { RealtimeChannel } from "@supabase/supabase-js";
import type { Client, Image, Job, Video } from "./consumer.js";
import { merge, refresh, type Change, type Rows, type Versioned } from "./merge.js";

/** One job, or the latest jobs of a user. */
export type Whose = { jobId: string } | { userId: string };

/** A job with its results in order of index. */
export interface JobView {
  job: Job;
  images: Image[];
  videos: Video[];
}

export interface WatchOptions {
  /** How often to ask while a job is not over, and for a user's jobs also while Realtime does not tell. */
  pollSeconds?: number;
  /** How many of a user's latest jobs. */
  limit?: number;
  /** Told of every failed query and subscription; watching goes on. console.error where it is left out. */
  onError?: (error: unknown) => void;
}

export interface Watch {
  /** Ask now, for instance after submitJob. */
  refetch(): void;
  close(): Promise<void>;
}

interface State {
  jobs: Rows<Job>;
  images: Rows<Image>;
  videos: Rows<Video>;
}
type Table = keyof State;
type Told = { table: Table; change: Change<Versioned> };

const REJOIN_MS = 5000;
const TABLES: readonly Table[] = ["jobs", "images", "videos"];
const FINAL: ReadonlySet<string> = new Set<Job["status"]>(["completed", "failed", "cancelled"]);
const EMPTY: State = { jobs: new Map(), images: new Map(), videos: new Map() };

/**
 * Call `show` with how the jobs stand, now and after every change, until it is closed. It asks the database on every
 * (re)subscription, when the page comes back to the foreground or online, and every `pollSeconds` while a job is not over
 * or, for the jobs of a user, while Realtime does not tell of new ones.
 */
export function watchJobs(
  client: Client,
  whose: Whose,
  show: (jobs: JobView[]) => void,
  options: WatchOptions = {},
): Watch {
  const { pollSeconds = 15, limit = 50, onError = console.error } = options;
  let state = EMPTY;
  let known = false;
  let flowing = false; // Realtime tells changes
  let since: Told[] | null = null; // while a query is under way: what Realtime told meanwhile
  let again = false;
  let closed = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let rejoin: ReturnType<typeof setTimeout> | undefined;

  async function refetch(): Promise<void> {
    if (closed) return;
    if (since) {
      again = true;
      return;
    }
    since = [];
    clearTimeout(timer);
    timer = undefined;
    try {
      const answer = await fetchJobs(client, whose, limit);
      if (closed) return;
      state = refreshed(state, answer, since);
      known = true;
      show(views(state));
    } catch (error) {
      if (!closed) onError(error);
    } finally {
      since = null;
    }
    if (again) {
      again = false;
      void refetch();
    } else poll();
  }

  function poll(): void {
    // A job that is watched by its id and not there yet is expected.
    const complete = known && ("userId" in whose || state.jobs.size > 0);
    const over = complete && [...state.jobs.values()].every((job) => FINAL.has(job.status));
    const mayMiss = "userId" in whose && !flowing; // another job of the user
    if ((!over || mayMiss) && !closed) timer ??= setTimeout(refetch, 1000 * pollSeconds);
  }

  function hear(table: Table, payload: Payload): void {
    const change = changeOf(payload);
    if (!change) return void refetch();
    const told = { table, change };
    since?.push(told);
    const id = "deleted" in change ? change.deleted : change.row.id;
    const held = [...state[table].values()].some((row) => row.id === id);
    if ("deleted" in change && !held) return; // Realtime tells everybody of every DELETE
    // An UPDATE of a row that was not told of before may lack its big columns.
    const unknown = payload.eventType === "UPDATE" && !held;
    if (known) {
      state = merged(state, [told]);
      show(views(state));
    }
    if (unknown) void refetch();
    else if (!since) poll();
  }

  function flows(now: boolean): void {
    flowing = now;
    if (!since) poll();
  }

  function join(): RealtimeChannel {
    const channel = client.channel(`consumer:${crypto.randomUUID()}`);
    for (const table of TABLES) {
      const filter = "userId" in whose ? `user_id=eq.${whose.userId}` : `${table === "jobs" ? "id" : "job_id"}=eq.${whose.jobId}`;
      channel.on("postgres_changes", { event: "*", schema: "public", table, filter }, (payload) =>
        hear(table, payload as unknown as Payload),
      );
    }
    // SUBSCRIBED comes when the channel is joined; this, up to seconds later, when changes really flow.
    channel.on("system", {}, (message: { extension?: string; status?: string; message?: string }) => {
      if (message.extension !== "postgres_changes") return;
      flows(message.status === "ok");
      if (flowing) void refetch();
      else onError(new Error(message.message));
    });
    return channel.subscribe((status, error) => {
      if (status === "SUBSCRIBED") void refetch();
      else flows(false);
      if (error && !closed) onError(error);
      // The client comes back by itself from all but this: the server closes a channel whose token has expired.
      if (status === "CLOSED" && !closed) rejoin ??= setTimeout(joinAgain, REJOIN_MS);
    });
  }

  function joinAgain(): void {
    rejoin = undefined;
    channel = join();
  }

  const seen = () => {
    if (globalThis.document.visibilityState === "visible") void refetch();
  };
  const online = () => void refetch();
  globalThis.document?.addEventListener("visibilitychange", seen);
  globalThis.window?.addEventListener("online", online);
  let channel = join();
  void refetch();

  return {
    refetch: () => void refetch(),
    async close() {
      closed = true;
      clearTimeout(timer);
      clearTimeout(rejoin);
      globalThis.document?.removeEventListener("visibilitychange", seen);
      globalThis.window?.removeEventListener("online", online);
      await client.removeChannel(channel);
    },
  };
}

interface Payload {
  eventType: "INSERT" | "UPDATE" | "DELETE";
  new: Versioned;
  old: { id?: string };
  errors?: string[] | null;
}

/** null: Realtime could not tell the change (a row over 1 MB, a right that is missing); a query can. */
function changeOf(payload: Payload): Change<Versioned> | null {
  if (payload.errors?.length) return null;
  if (payload.eventType === "DELETE") return payload.old.id ? { deleted: payload.old.id } : null;
  return { row: payload.new };
}

/** One statement, and so one moment: a job never comes without its rows. */
async function fetchJobs(client: Client, whose: Whose, limit: number) {
  const jobs = client.from("jobs").select("*, images!images_job_id_fkey(*), videos!videos_job_id_fkey(*)");
  const { data, error } = await ("userId" in whose ? jobs.eq("user_id", whose.userId) : jobs.eq("id", whose.jobId))
    .order("created_at", { ascending: false })
    .limit(limit)
    .abortSignal(AbortSignal.timeout(30_000));
  if (error) throw error;
  return data;
}

type Answer = Awaited<ReturnType<typeof fetchJobs>>;

function of<Row extends Versioned>(table: Table, told: readonly Told[]): Change<Row>[] {
  return told.filter((each) => each.table === table).map((each) => each.change as Change<Row>);
}

function merged(state: State, told: readonly Told[]): State {
  return {
    jobs: merge(state.jobs, of<Job>("jobs", told)),
    images: merge(state.images, of<Image>("images", told)),
    videos: merge(state.videos, of<Video>("videos", told)),
  };
}

function refreshed(state: State, answer: Answer, since: readonly Told[]): State {
  const jobs = answer.map(({ images: _images, videos: _videos, ...job }) => job);
  return {
    jobs: refresh(state.jobs, jobs, of<Job>("jobs", since)),
    images: refresh(state.images, answer.flatMap((job) => job.images), of<Image>("images", since)),
    videos: refresh(state.videos, answer.flatMap((job) => job.videos), of<Video>("videos", since)),
  };
}

/** Jobs, the newest first, each with what belongs to it. */
function views(state: State): JobView[] {
  const byIndex = (a: { image_index: number | null }, b: { image_index: number | null }) =>
    (a.image_index ?? 0) - (b.image_index ?? 0);
  return [...state.jobs.values()]
    .sort((a, b) => (a.created_at < b.created_at ? 1 : -1))
    .map((job) => ({
      job,
      images: [...state.images.values()].filter((image) => image.job_id === job.id).sort(byIndex),
      videos: [...state.videos.values()].filter((video) => video.job_id === job.id).sort(byIndex),
    }));
}
