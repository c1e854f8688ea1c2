/** A client of Headrace: submit jobs, and watch each one to its end without missing an event. */

export type JobState = "queued" | "running" | "succeeded" | "failed" | "cancelled";

/** Why a job or a step failed. `code` is stable, `message` is for people, `step` its key if one failed. */
export interface JobError {
  code: string;
  message: string;
  step: string | null;
}

export interface Job {
  id: string;
  pipeline: string;
  version: number;
  state: JobState;
  waiting_for: string | null;
  params: Record<string, unknown>;
  result: unknown;
  error: JobError | null;
  progress: number;
  attempt: number;
  max_attempts: number | null;
  timeout_seconds: number | null;
  priority: number;
  queue: string;
  run_at: string;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  cancel_requested_at: string | null;
  event_seq: number;
  tags: string[];
  meta: Record<string, unknown>;
  /** Whether the job is pinned, so that it is never pruned. */
  keep: boolean;
  owner_id: string;
  preset_id: string | null;
  /** True in a list if the result is large: only the job by itself has it. */
  result_omitted?: boolean;
  params_omitted?: boolean;
  meta_omitted?: boolean;
}

export interface StepRun {
  name: string;
  index: number | null;
  state: string;
  attempt: number;
  tries: number;
  progress: number;
  message: string | null;
  output: unknown;
  error: JobError | null;
  retry_at: string | null;
  started_at: string | null;
  finished_at: string | null;
  output_omitted?: boolean;
}

export interface File {
  id: string;
  job_id: string | null;
  step: string | null;
  name: string;
  media_type: string;
  size: number;
  sha256: string;
  created_at: string;
}

/** A file as the calls for files return it. */
export interface StoredFile extends File {
  owner_id: string;
  meta: Record<string, unknown>;
  meta_omitted?: boolean;
}

export interface GraphStep {
  name: string;
  after: string[];
  for_each: boolean;
  runs_in: string;
  retries: number;
  timeout_seconds: number;
  weight: number;
}

/** The newest version of a pipeline. `served`: a live worker runs jobs of it. */
export interface Pipeline {
  name: string;
  version: number;
  description: string;
  params_schema: Record<string, unknown>;
  result_schema: Record<string, unknown> | null;
  steps: GraphStep[];
  served: boolean;
}

export interface Preset {
  id: string;
  owner_id: string;
  title: string;
  description: string | null;
  pipeline: string;
  params: Record<string, unknown>;
  tags: string[];
  created_at: string;
  updated_at: string;
  params_omitted?: boolean;
}

/** A tag, and how many jobs and presets it marks. */
export interface Tag {
  id: string;
  owner_id: string;
  name: string;
  jobs: number;
  presets: number;
  created_at: string;
  updated_at: string;
}

export interface QuotaUsage {
  used: number;
  limit: number;
}

/** The caller, and how much of its quotas is used. */
export interface Me {
  id: string;
  username: string;
  email: string | null;
  is_admin: boolean;
  auth: string;
  scopes: string[];
  quotas: Record<string, QuotaUsage>;
}

export interface ApiKey {
  id: string;
  name: string;
  prefix: string;
  scopes: string[];
  expires_at: string | null;
  last_used_at: string | null;
  created_at: string;
}

/** A new API key. Its text, `key`, is shown only here. */
export interface NewApiKey extends ApiKey {
  key: string;
}

/** A token with which a page watches one job. */
export interface JobToken {
  token: string;
  scope: string;
  expires_at: string;
}

/** One page of a list. `total` counts all matching items. */
export interface Page<Item> {
  items: Item[];
  /** How many items match. Above 10,000 it may be an estimate. */
  total: number;
  limit: number;
  offset: number;
  total_is_estimate?: boolean;
  /** The cursor of the page behind this one, to be given as `after`. The last page has none. */
  next?: string;
  /** Only the items created since then were looked at. */
  searched_back_to?: string;
}

export interface StateCounts {
  queued: number;
  running: number;
  succeeded: number;
  failed: number;
  cancelled: number;
  queued_is_estimate?: boolean;
  running_is_estimate?: boolean;
  succeeded_is_estimate?: boolean;
  failed_is_estimate?: boolean;
  cancelled_is_estimate?: boolean;
}

export interface Percentiles {
  p50: number;
  p95: number;
  p99: number;
}

export interface Stats {
  at: string;
  window_seconds: number;
  /** The time that rates and percentiles are measured over: the window, or that of the newest 10,000 ends. */
  measured_seconds: number;
  pipeline: string | null;
  counts: StateCounts;
  ended_jobs: number;
  finished_per_minute: number;
  failed_per_minute: number;
  start_latency_seconds: Percentiles | null;
  duration_seconds: Percentiles | null;
}

export interface Queue {
  name: string;
  queued: number;
  oldest_due_at: string | null;
  running: number;
  workers: number;
  queued_is_estimate?: boolean;
}

export interface Scaling {
  value: number;
  due: number;
  due_soon: number;
  running: number;
  gated: number;
  oldest_due_seconds: number;
  slots_per_worker: number;
  wanted_workers: number;
  due_is_estimate?: boolean;
}

export interface Worker {
  id: string;
  queues: string[];
  concurrency: number;
  /** The ids of the jobs that it runs and that the caller may see. */
  running: string[];
  started_at: string;
  last_seen_at: string;
}

export interface EventPage {
  items: JobEvent[];
  /** The number of the job's newest event. */
  head: number;
}

/** An id, or an object that a call has returned. */
export type Reference = string | { id: string };

interface Numbered<Type extends string> {
  type: Type;
  job_id: string;
  /** Rises by one per job, without gaps. */
  seq: number;
  at: string;
}

interface OfStep<Type extends string> extends Numbered<Type> {
  step: string;
  index: number | null;
  attempt: number;
}

export interface JobQueued extends Numbered<"job.queued"> {}
export interface JobStarted extends Numbered<"job.started"> {
  attempt: number;
  worker: string;
}
export interface JobCancelRequested extends Numbered<"job.cancel_requested"> {}
export interface JobRequeued extends Numbered<"job.requeued"> {
  reason: string;
  run_at: string;
}
export interface JobSucceeded extends Numbered<"job.succeeded"> {
  result: unknown;
  /** True if the result is large: only the job itself has it. */
  result_omitted?: boolean;
}
export interface JobFailed extends Numbered<"job.failed"> {
  error: JobError;
}
export interface JobCancelled extends Numbered<"job.cancelled"> {}
export interface JobRetried extends Numbered<"job.retried"> {}
export interface AttemptLost extends Numbered<"attempt.lost"> {
  attempt: number;
  blamed?: boolean;
}
export interface StepStarted extends OfStep<"step.started"> {}
export interface StepSucceeded extends OfStep<"step.succeeded"> {
  took_ms: number;
}
export interface StepFailed extends OfStep<"step.failed"> {
  error: JobError;
  retry_at: string | null;
}
export interface LogWritten extends Numbered<"log"> {
  level: string;
  message: string;
  fields: Record<string, unknown>;
  step: string | null;
}
export interface FileCreated extends Numbered<"file.created"> {
  file: File;
}

/** A newer service may send more: leave a default where you switch on `type`. */
export type JobEvent =
  | JobQueued
  | JobStarted
  | JobCancelRequested
  | JobRequeued
  | JobSucceeded
  | JobFailed
  | JobCancelled
  | JobRetried
  | AttemptLost
  | StepStarted
  | StepSucceeded
  | StepFailed
  | LogWritten
  | FileCreated;

/** The first frame of every connection. */
export interface Hello {
  type: "hello";
  job_id: string;
  head: number;
  job: Job;
}

export interface Progress {
  done: number;
  total: number;
  message: string | null;
}

/** The estimated remaining time, if the job runs as recent ones did. */
export interface Eta {
  low_seconds: number;
  high_seconds: number;
}

/** The progress of a running job. It replaces the previous one; `skipped` counts those that were dropped. */
export interface ProgressFrame {
  type: "progress";
  head: number;
  attempt: number;
  fence: number;
  fraction: number;
  steps: Record<string, Progress>;
  skipped?: number;
  eta?: Eta;
}

export interface Beat {
  type: "beat";
  head: number;
  degraded: boolean;
}

/** The last frame: the job is final and all its events were sent. */
export interface End {
  type: "end";
  state: JobState;
}

export interface Bye {
  type: "bye";
  retry_after: number;
}

export interface Refusal {
  type: "error";
  code: string;
  message: string;
}

/** The newest state of one job, in a watch of all jobs. */
export interface JobSummary {
  type: "job";
  job_id: string;
  head: number;
  state: JobState;
  progress: number;
  pipeline: string;
}

export interface JobDeleted {
  type: "job.deleted";
  job_id: string;
}

export interface JobsBeat {
  type: "beat";
  degraded: boolean;
}

export type JobsFrame = JobSummary | JobDeleted | JobsBeat | Bye | Refusal;

export type Frame = JobEvent | Hello | ProgressFrame | Beat | End | Bye | Refusal;

/** The part of a WebSocket that this client needs. */
export interface WebSocketLike {
  onmessage: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  close(): void;
}

export interface ClientOptions {
  /** Sent as a bearer token. */
  token?: string;
  /** Opens a socket; null: server-sent events. Default: the platform's WebSocket if there is one and no token. */
  webSocket?: ((url: string, headers: Record<string, string>) => WebSocketLike) | null;
  fetch?: typeof globalThis.fetch;
  /** Maximum number of retries of a call. Default: 3. */
  retries?: number;
  /** Timeout of one answer. Default: 30,000. */
  timeoutMs?: number;
}

export interface CallOptions {
  signal?: AbortSignal;
}

/** How a job runs. The service chooses defaults for the fields left out. */
export interface JobTerms {
  run_at?: string;
  priority?: number;
  queue?: string;
  max_attempts?: number;
  timeout_seconds?: number;
  tags?: string[];
  meta?: Record<string, unknown>;
}

export interface KeyOptions extends CallOptions {
  /** Idempotency key. Default: a random one. */
  key?: string;
}

export interface SubmitOptions extends JobTerms, KeyOptions {
  version?: number;
}

/** One job of a batch. */
export interface BatchJob extends JobTerms {
  pipeline: string;
  version?: number;
  params?: object;
}

export interface PageFilter extends CallOptions {
  limit?: number;
  offset?: number;
  /** The `next` of the page before this one. */
  after?: string;
}

export interface JobFilter extends PageFilter {
  /** One state, or several. */
  state?: JobState | JobState[];
  pipeline?: string;
  queue?: string;
  tag?: string;
  search?: string;
  created_after?: string;
  created_before?: string;
  preset?: string;
  owner?: string;
  order_by?: string;
}

export interface FileFilter extends PageFilter {
  job?: string;
  search?: string;
  created_before?: string;
  order_by?: string;
}

export interface PresetFilter extends PageFilter {
  pipeline?: string;
  tag?: string;
  search?: string;
  order_by?: string;
}

export interface PresetFields {
  title: string;
  description?: string | null;
  pipeline: string;
  params: object;
  tags?: string[];
}

export interface JobsWatchOptions extends CallOptions {
  state?: JobState;
  pipeline?: string;
  tag?: string;
  owner?: string;
  patienceMs?: number;
  firstPatienceMs?: number;
  tell?: (why: string | null) => void;
}

export interface WatchOptions extends CallOptions {
  /** Start after this event. Default: 0, the whole history. */
  after?: number;
  /** How long the service may be away. Default: 60,000. */
  patienceMs?: number;
  /** The same before the first answer. Default: `patienceMs`. */
  firstPatienceMs?: number;
  /** Called with each reason why there is no connection, and with null when it is back. */
  tell?: (why: string | null) => void;
}

export interface WaitOptions extends CallOptions {
  timeoutMs?: number;
  patienceMs?: number;
}

export class HeadraceClient {
  /** The default is the page's own origin, and `http://127.0.0.1:8000` outside of pages. */
  constructor(url?: string, options?: ClientOptions);
  readonly url: string;
  /** Submit a job; it is stored when the call returns. The same key again returns the same job. */
  submit(pipeline: string, params?: object, options?: SubmitOptions): Promise<Job>;
  /** Submit up to 1,000 jobs, all or none. */
  submitMany(jobs: BatchJob[], options?: KeyOptions): Promise<Job[]>;
  submitPreset(preset: Reference, options?: JobTerms & KeyOptions): Promise<Job>;
  show(job: Reference, options?: CallOptions): Promise<Job>;
  /** List jobs, newest first by default. */
  jobs(filter?: JobFilter): Promise<Page<Job>>;
  /** Change tags or meta, or pin the job with `keep`. Absent fields stay; a null in `meta` removes its key. */
  change(job: Reference, changes: { tags?: string[]; meta?: object; keep?: boolean } & CallOptions): Promise<Job>;
  /** Delete a job that has ended, with its history and files. */
  delete(job: Reference, options?: CallOptions): Promise<void>;
  /** Cancel a job: a queued job at once, a running job soon. */
  cancel(job: Reference, options?: CallOptions): Promise<Job>;
  /** Queue a failed job again. Steps that have succeeded are not repeated. */
  retry(job: Reference, options?: CallOptions): Promise<Job>;
  steps(job: Reference, options?: CallOptions): Promise<StepRun[]>;
  /** List the events of a job after a number, without waiting for new ones. */
  events(job: Reference, filter?: { after?: number; limit?: number } & CallOptions): Promise<EventPage>;
  /** List the files of a job, oldest first. */
  files(job: Reference, filter?: PageFilter): Promise<Page<StoredFile>>;
  /** List uploads and the files of all jobs, newest first by default. */
  allFiles(filter?: FileFilter): Promise<Page<StoredFile>>;
  showFile(file: Reference, options?: CallOptions): Promise<StoredFile>;
  /** Upload bytes, text or a file of an input element. */
  upload(
    content: Blob | BufferSource | string,
    name?: string,
    options?: { mediaType?: string } & CallOptions,
  ): Promise<StoredFile>;
  download(file: Reference, options?: CallOptions): Promise<Blob>;
  changeFile(file: Reference, changes: { name?: string; meta?: object } & CallOptions): Promise<StoredFile>;
  deleteFile(file: Reference, options?: CallOptions): Promise<void>;
  pipelines(filter?: PageFilter): Promise<Page<Pipeline>>;
  pipeline(name: string, options?: CallOptions): Promise<Pipeline>;
  /** Remove all versions of a pipeline, or one, that no live worker serves. Its past jobs stay. */
  removePipeline(name: string, options?: { version?: number } & CallOptions): Promise<void>;
  presets(filter?: PresetFilter): Promise<Page<Preset>>;
  preset(preset: Reference, options?: CallOptions): Promise<Preset>;
  createPreset(preset: PresetFields & CallOptions): Promise<Preset>;
  /** Replace the whole preset. Absent fields are cleared. */
  replacePreset(reference: Reference, preset: PresetFields & CallOptions): Promise<Preset>;
  changePreset(reference: Reference, changes: Partial<PresetFields> & CallOptions): Promise<Preset>;
  /** Delete a preset. Its jobs stay, unless `keepJobs` is false. */
  deletePreset(preset: Reference, options?: { keepJobs?: boolean } & CallOptions): Promise<void>;
  tags(filter?: PageFilter & { order_by?: string }): Promise<Page<Tag>>;
  createTag(name: string, options?: CallOptions): Promise<Tag>;
  renameTag(tag: Reference, name: string, options?: CallOptions): Promise<Tag>;
  deleteTag(tag: Reference, options?: CallOptions): Promise<void>;
  me(options?: CallOptions): Promise<Me>;
  apiKeys(filter?: PageFilter & { owner?: string }): Promise<Page<ApiKey>>;
  createApiKey(
    name: string,
    scopes: string[],
    options?: { expires_at?: string } & CallOptions,
  ): Promise<NewApiKey>;
  /** Revoke a key. It is refused everywhere within a second. */
  deleteApiKey(key: Reference, options?: CallOptions): Promise<void>;
  /** Issue a token with which a page watches one job; with the scope `cancel` also cancels it. */
  createJobToken(
    job: Reference,
    options?: { scope?: "read" | "cancel"; expires_in?: number } & CallOptions,
  ): Promise<JobToken>;
  /** Revoke all tokens of the job that were issued up to now. */
  revokeJobTokens(job: Reference, options?: CallOptions): Promise<void>;
  /** Fetch how many jobs are in each state, and how many ended within the window, and how fast. */
  stats(filter?: { window?: string; pipeline?: string } & CallOptions): Promise<Stats>;
  /** List the queues with what waits and runs in them. */
  queues(options?: CallOptions): Promise<Queue[]>;
  /** Fetch how many workers with so many slots a queue needs. */
  scaling(queue: string, filter?: { slots?: number } & CallOptions): Promise<Scaling>;
  /** List the live workers with the jobs that they run. */
  workers(options?: CallOptions): Promise<Worker[]>;
  /** Call any path below `/api/v1` and return the decoded JSON. */
  request(
    method: string,
    path: string,
    options?: { query?: Record<string, unknown>; body?: unknown } & KeyOptions,
  ): Promise<any>;
  /** Wait until the job has ended and return it. */
  wait(job: Reference, options?: WaitOptions): Promise<Job>;
  /** Yield each event after `after` once and in order, other frames between them, and `end` last. */
  watch(job: Reference, options?: WatchOptions): AsyncGenerator<Frame, void, undefined>;
  /** Yield the newest 500 jobs that match, and then each job that changes, until the caller leaves. */
  watchJobs(options?: JobsWatchOptions): AsyncGenerator<JobsFrame, void, undefined>;
}

/** The base class of every error of this client. */
export class HeadraceClientError extends Error {}

/** The service answers with an error in the form of RFC 9457. */
export class ApiError extends HeadraceClientError {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly errors: { path: string; message: string }[];
  readonly retryAfter: number | undefined;
  /** With the code `quota_exceeded`: which quota, how much of it is used, and its limit. */
  readonly quota: string | undefined;
  readonly used: number | undefined;
  readonly limit: number | undefined;
}

/** No Headrace answers at the URL. */
export class UnreachableError extends HeadraceClientError {
  readonly url: string;
}

/** The job cannot be watched, and a retry does not help. */
export class WatchRefusedError extends HeadraceClientError {
  /** Null for a watch of all jobs. */
  readonly jobId: string | null;
  /**
   * `job_not_found`, `job_deleted`, `cursor_beyond_head`, `event_missing`, `unauthenticated`, `forbidden`,
   * `not_headrace`, or another code of the service.
   */
  readonly code: string;
}

/** The service was away for longer than the watch allows. To resume, watch from `after`. */
export class GaveUpError extends HeadraceClientError {
  readonly url: string;
  readonly jobId: string | null;
  readonly milliseconds: number;
  readonly after: number;
  /** What the last connection ended with. */
  readonly reason: string;
}

/** The job has not ended within the timeout; it continues. */
export class WaitTimeoutError extends HeadraceClientError {
  readonly jobId: string;
}
