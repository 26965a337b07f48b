// What a frontend does: submit a job, watch it, cancel it, try it again, sign the paths of its results.

import type { SupabaseClient } from "@supabase/supabase-js";
import type { Database, JsonObject, Status } from "./database.types.js";

export { keyOf, merge, refresh, type Change, type Rows, type Versioned } from "./merge.js";
export { watchJobs, type JobView, type Watch, type WatchOptions, type Whose } from "./watch.js";

export type Client = SupabaseClient<Database>;
type Tables = Database["public"]["Tables"];
export type Job = Tables["jobs"]["Row"];
export type Image = Tables["images"]["Row"];
export type Video = Tables["videos"]["Row"];

export const BUCKET = "workspace-temp";

/** The usual fields of a request; all are optional, and others are passed on. Ranges are in docs/jobs.md. */
export type RequestFields = JsonObject & {
  negative_prompt?: string;
  num_images?: number;
  seed?: number;
  steps?: number;
  guidance_scale?: number;
  width?: number;
  height?: number;
  aspect_ratio?: "1:1" | "16:9" | "9:16" | "4:3" | "3:4" | "3:2" | "2:3";
  duration?: number;
  fps?: number;
};

/**
 * Queue a job as the user who is signed in; returns its id. Throws a PostgrestError: its message is for the user.
 * With an id of your own you may send it again when no reply came: code 23505 then says that it is there.
 */
export async function submitJob(
  client: Client,
  jobType: string,
  prompt: string,
  fields: RequestFields = {},
  id: string = crypto.randomUUID(),
): Promise<string> {
  const row = { id, job_type: jobType, original_prompt: prompt, metadata: fields };
  const { error } = await client.from("jobs").insert(row);
  if (error) throw error;
  return id;
}

/** Cancel a job; returns the status that it has now. One that is over stays as it is. */
export async function cancelJob(client: Client, jobId: string): Promise<Status> {
  const { data, error } = await client.rpc("cancel_job", { job_id: jobId });
  if (error) throw error;
  return data;
}

/** Queue a job again that failed or was cancelled, for what it has no result of; returns the status that it has now. */
export async function retryJob(client: Client, jobId: string): Promise<Status> {
  const { data, error } = await client.rpc("retry_job", { job_id: jobId });
  if (error) throw error;
  return data;
}

/** The place of a job in line: 1 is next, 0 is running, null is over; 1000 stands for 1000 or more. */
export async function queuePosition(client: Client, jobId: string): Promise<number | null> {
  const { data, error } = await client.rpc("queue_position", { job_id: jobId });
  if (error) throw error;
  return data;
}

/** Signed URLs by path, good for so many seconds. A path that cannot be signed (not there, not yours) is left out. */
export async function signPaths(
  client: Client,
  paths: readonly string[],
  seconds = 3600,
  bucket = BUCKET,
): Promise<Map<string, string>> {
  if (paths.length === 0) return new Map();
  const { data, error } = await client.storage.from(bucket).createSignedUrls([...paths], seconds);
  if (error) throw error;
  return new Map(data.flatMap((item) => (item.path && item.signedUrl && !item.error ? [[item.path, item.signedUrl]] : [])));
}
