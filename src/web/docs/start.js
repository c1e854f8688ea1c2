import { withIds, withPipelines } from "./contract.js";

// The service may be published below a path, where this script is at PATH/docs/page/start.js.
const ROOT = new URL("../../", import.meta.url);
const NEWEST = { job_id: "jobs", file_id: "files", preset_id: "presets", tag_id: "tags" };

/** Return the JSON at a path, or null: a caller who is not signed in sees the page without it. */
async function read(path) {
  const answer = await fetch(new URL(path, ROOT));
  return answer.ok ? answer.json() : null;
}

/** Add the proof that a request with the session's cookie comes from this page. */
function withCsrfToken(request) {
  const cookie = document.cookie.split("; ").find((pair) => pair.startsWith("headrace_csrf="));
  if (cookie) request.headers["X-CSRF-Token"] = cookie.slice("headrace_csrf=".length);
  return request;
}

async function show() {
  const [contract, pipelines, ...newest] = await Promise.all([
    read("openapi.json"),
    read("api/v1/pipelines?limit=1000"),
    ...Object.values(NEWEST).map((list) => read(`api/v1/${list}?limit=1&order_by=-created_at`)),
  ]);
  const page = document.getElementById("api");
  if (contract === null) {
    page.textContent = "The contract could not be loaded. Reload the page.";
    return;
  }
  const ids = Object.fromEntries(Object.keys(NEWEST).map((name, index) => [name, newest[index]?.items[0]?.id]));
  SwaggerUIBundle({
    spec: withIds(withPipelines(contract, pipelines?.items ?? []), ids),
    domNode: page,
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 1,
    validatorUrl: null,
    requestInterceptor: withCsrfToken,
  });
}

show();
