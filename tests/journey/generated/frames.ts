// Reads frames with the types that are generated from the schemas of asyncapi.yaml.
import type { JobFailed, LogWritten, ProgressFrame, StepSucceeded } from "./frames_schema.js";

type Known = JobFailed | LogWritten | ProgressFrame | StepSucceeded;

export function describe(frame: Known): string {
  switch (frame.type) {
    case "progress":
      return `${frame.fraction} of ${Object.keys(frame.steps).length} steps`;
    case "log":
      return `${frame.seq} ${frame.message} ${frame.fields?.["any"]}`;
    case "step.succeeded":
      return `${frame.step} took ${frame.took_ms}`;
    case "job.failed":
      return frame.error.code;
  }
}
