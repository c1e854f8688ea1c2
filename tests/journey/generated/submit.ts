// Submits a job with the types that openapi-typescript generates from /openapi.json.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { argv: string[] };

const client = createClient<paths>({ baseUrl: process.argv[2] });

const body: components["schemas"]["SubmitJob"] = {
  pipeline: "ticks",
  params: { count: 2, interval_ms: 1 },
  meta: { from: "generated", nested: { deep: [1] } },
};
const { data: job, error } = await client.POST("/api/v1/jobs", { body });
if (!job) throw new Error(JSON.stringify(error));
const listed = await client.GET("/api/v1/jobs", {
  params: { query: { state: ["queued", "running", "succeeded"], pipeline: "ticks", limit: 1000 } },
});
const found = listed.data?.items.some((item) => item.id === job.id);
console.log(JSON.stringify({ state: job.state, count: job.params["count"], found }));
