/** Runs the client as a test requests, and prints each result as one line of JSON. */

import { HeadraceClient } from "../../clients/typescript/src/index.js";

const [mode, request] = process.argv.slice(2);
const { transport, url, token, job, after, options, name, arguments: parameters, script } = JSON.parse(request);
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

if (mode === "watch") {
  const client = new HeadraceClient(url, transport === "events" ? { token, webSocket: null } : { token });
  try {
    const tell = (told) => print({ told });
    for await (const frame of client.watch(job, { after, tell, ...options })) print({ frame });
    print({ ending: "ended" });
  } catch (error) {
    print({ ending: error.code ?? error.name, message: error.message, after: error.after });
  }
} else if (mode === "script") {
  const { constructor: AsyncFunction } = async () => {};
  await new AsyncFunction("client", "print", script)(new HeadraceClient(url), print);
} else {
  try {
    print({ result: await new HeadraceClient(url)[name](...parameters) });
  } catch (error) {
    print({ error: { ...error, name: error.name, message: error.message } });
  }
}
