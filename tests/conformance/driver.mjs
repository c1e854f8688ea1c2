/** Runs the client as a test orders it, and prints what comes of it, a line of JSON each. */

import { HeadraceClient } from "../../clients/typescript/src/index.js";

const [mode, order] = process.argv.slice(2);
const { transport, url, token, job, after, options, name, arguments: parameters } = JSON.parse(order);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

if (mode === "watch") {
  const client = new HeadraceClient(url, transport === "events" ? { token, webSocket: null } : { token });
  try {
    for await (const frame of client.watch(job, { after, ...options })) say({ frame });
    say({ ending: "ended" });
  } catch (error) {
    say({ ending: error.code ?? error.name, message: error.message, after: error.after });
  }
} else {
  try {
    say({ answer: await new HeadraceClient(url)[name](...parameters) });
  } catch (error) {
    say({ error: { ...error, name: error.name, message: error.message } });
  }
}
