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
  owner_id: string;
  preset_id: string | null;
  /** True in a list if the result is large: only the job by itself has it. */
  result_omitted?: boolean;
  params_omitted?: boolean;
  meta_omitted?: boolean;
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

export interface SubmitOptions extends CallOptions {
  /** Idempotency key. Default: a random one. */
  key?: string;
  version?: number;
  run_at?: string;
  priority?: number;
  queue?: string;
  max_attempts?: number;
  timeout_seconds?: number;
  tags?: string[];
  meta?: Record<string, unknown>;
}

export interface WatchOptions extends CallOptions {
  /** Start after this event. Default: 0, the whole history. */
  after?: number;
  /** How long the service may be away. Default: 60,000. */
  patienceMs?: number;
  /** The same before the first answer. Default: `patienceMs`. */
  firstPatienceMs?: number;
  /** Called with the reason when the connection is lost, and with null when it is back. */
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
  show(jobId: string, options?: CallOptions): Promise<Job>;
  /** Cancel a job: a queued job at once, a running job soon. */
  cancel(jobId: string, options?: CallOptions): Promise<Job>;
  /** Queue a failed job again. Steps that have succeeded are not repeated. */
  retry(jobId: string, options?: CallOptions): Promise<Job>;
  /** Wait until the job has ended and return it. */
  wait(jobId: string, options?: WaitOptions): Promise<Job>;
  /** Yield each event after `after` once and in order, other frames between them, and `end` last. */
  watch(jobId: string, options?: WatchOptions): AsyncGenerator<Frame, void, undefined>;
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
  readonly jobId: string;
  readonly code:
    | "job_not_found"
    | "job_deleted"
    | "cursor_beyond_head"
    | "event_missing"
    | "unauthenticated"
    | "not_headrace";
}

/** The service was away for longer than the watch allows. To resume, watch from `after`. */
export class GaveUpError extends HeadraceClientError {
  readonly url: string;
  readonly jobId: string;
  readonly milliseconds: number;
  readonly after: number;
}

/** The job has not ended within the timeout; it continues. */
export class WaitTimeoutError extends HeadraceClientError {
  readonly jobId: string;
}
