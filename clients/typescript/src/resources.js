/** The calls of a client besides watching. An object that a call returned may stand for its id. */

/** Return the id of an object, or the id itself. */
export function idOf(reference) {
  return typeof reference === "object" && reference !== null ? reference.id : reference;
}

/** Return the path of an object. */
export function pathOf(kind, reference, rest = "") {
  return `/${kind}/${encodeURIComponent(idOf(reference))}${rest}`;
}

/** Return the query of `filters`; values of lists are repeated, and those without a value left out. */
export function queryOf(filters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(filters)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== undefined && item !== null) query.append(name, String(item));
    }
  }
  const text = query.toString();
  return text && `?${text}`;
}

/** The calls as methods. Subclasses send them with `send(method, path, options)`. */
export class Resources {
  /** Submit a job; it is stored when the call returns. The same key again returns the same job. */
  submit(pipeline, params = {}, { key = newKey(), signal, ...more } = {}) {
    return this.#submit("/jobs", { pipeline, params, ...more }, key, signal);
  }

  async submitMany(jobs, { key = newKey(), signal } = {}) {
    return (await this.#submit("/jobs/batch", { jobs }, key, signal)).items;
  }

  submitPreset(preset, { key = newKey(), signal, ...more } = {}) {
    return this.#submit(pathOf("presets", preset, "/jobs"), more, key, signal);
  }

  show(job, options) {
    return this.#get(pathOf("jobs", job), options);
  }

  jobs(filters) {
    return this.#list("/jobs", filters);
  }

  change(job, { signal, ...changes }) {
    return this.send("PATCH", pathOf("jobs", job), { body: changes, isRepeatable: true, signal });
  }

  delete(job, options) {
    return this.#delete(pathOf("jobs", job), options);
  }

  cancel(job, { signal } = {}) {
    return this.send("POST", pathOf("jobs", job, "/cancel"), { signal });
  }

  retry(job, { signal } = {}) {
    return this.send("POST", pathOf("jobs", job, "/retry"), { signal });
  }

  async steps(job, options) {
    return (await this.#get(pathOf("jobs", job, "/steps"), options)).items;
  }

  events(job, filters) {
    return this.#list(pathOf("jobs", job, "/events"), filters);
  }

  files(job, filters) {
    return this.#list(pathOf("jobs", job, "/files"), filters);
  }

  allFiles(filters) {
    return this.#list("/files", filters);
  }

  showFile(file, options) {
    return this.#get(pathOf("files", file), options);
  }

  /** Upload bytes, text or a file of an input element. */
  upload(content, name = content.name, { mediaType, signal } = {}) {
    const form = new FormData();
    const type = mediaType ?? content.type ?? "application/octet-stream";
    form.append("file", new Blob([content], { type }), name);
    return this.send("POST", "/files", { form, signal });
  }

  /** Return the bytes of a file as a Blob. */
  download(file, { signal } = {}) {
    return this.send("GET", pathOf("files", file, "/content"), { isBlob: true, isRepeatable: true, signal });
  }

  changeFile(file, { signal, ...changes }) {
    return this.send("PATCH", pathOf("files", file), { body: changes, isRepeatable: true, signal });
  }

  deleteFile(file, options) {
    return this.#delete(pathOf("files", file), options);
  }

  pipelines(filters) {
    return this.#list("/pipelines", filters);
  }

  pipeline(name, options) {
    return this.#get(pathOf("pipelines", name), options);
  }

  removePipeline(name, { version, signal } = {}) {
    return this.#delete(pathOf("pipelines", name, queryOf({ version })), { signal });
  }

  presets(filters) {
    return this.#list("/presets", filters);
  }

  preset(preset, options) {
    return this.#get(pathOf("presets", preset), options);
  }

  createPreset({ signal, ...preset }) {
    return this.send("POST", "/presets", { body: preset, signal });
  }

  replacePreset(reference, { signal, ...preset }) {
    return this.send("PUT", pathOf("presets", reference), { body: preset, isRepeatable: true, signal });
  }

  changePreset(reference, { signal, ...changes }) {
    return this.send("PATCH", pathOf("presets", reference), { body: changes, isRepeatable: true, signal });
  }

  deletePreset(preset, { keepJobs, signal } = {}) {
    return this.#delete(pathOf("presets", preset, queryOf({ keep_jobs: keepJobs })), { signal });
  }

  tags(filters) {
    return this.#list("/tags", filters);
  }

  createTag(name, { signal } = {}) {
    return this.send("POST", "/tags", { body: { name }, signal });
  }

  renameTag(tag, name, { signal } = {}) {
    return this.send("PATCH", pathOf("tags", tag), { body: { name }, isRepeatable: true, signal });
  }

  deleteTag(tag, options) {
    return this.#delete(pathOf("tags", tag), options);
  }

  me(options) {
    return this.#get("/me", options);
  }

  apiKeys(filters) {
    return this.#list("/api-keys", filters);
  }

  createApiKey(name, scopes, { expires_at, signal } = {}) {
    return this.send("POST", "/api-keys", { body: { name, scopes, expires_at }, signal });
  }

  deleteApiKey(key, options) {
    return this.#delete(pathOf("api-keys", key), options);
  }

  createJobToken(job, { scope, expires_in, signal } = {}) {
    return this.send("POST", pathOf("jobs", job, "/tokens"), { body: { scope, expires_in }, signal });
  }

  revokeJobTokens(job, options) {
    return this.#delete(pathOf("jobs", job, "/tokens"), options);
  }

  stats(filters) {
    return this.#list("/stats", filters);
  }

  async queues(options) {
    return (await this.#get("/queues", options)).items;
  }

  scaling(queue, filters) {
    return this.#list(pathOf("queues", queue, "/scaling"), filters);
  }

  async workers(options) {
    return (await this.#get("/workers", options)).items;
  }

  /** Call any path below `/api/v1` and return the decoded JSON. */
  request(method, path, { query = {}, body, key, signal } = {}) {
    const isRepeatable = method === "GET" || key !== undefined;
    return this.send(method, path + queryOf(query), { body, key, isRepeatable, signal });
  }

  #submit(path, body, key, signal) {
    return this.send("POST", path, { body, key, isRepeatable: true, signal });
  }

  #get(path, { signal } = {}) {
    return this.send("GET", path, { isRepeatable: true, signal });
  }

  #list(path, { signal, ...filters } = {}) {
    return this.#get(path + queryOf(filters), { signal });
  }

  async #delete(path, { signal } = {}) {
    await this.send("DELETE", path, { signal });
  }
}

/** Not `randomUUID`, which browsers offer only on secure origins. */
function newKey() {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
