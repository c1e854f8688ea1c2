/** A client of Headrace: submit jobs, and watch each one to its end without missing an event. */

export { HeadraceClient } from "./client.js";
export {
  ApiError,
  GaveUpError,
  HeadraceClientError,
  UnreachableError,
  WaitTimeoutError,
  WatchRefusedError,
} from "./errors.js";
