/** Completes the OpenAPI document with what only a running service knows: its pipelines, and the newest objects. */

/**
 * Return `contract` with the schema of the params of each pipeline, and with an example of a job of each.
 * The examples of the document itself stay in front.
 */
export function withPipelines(contract, pipelines) {
  const completed = structuredClone(contract);
  const body = completed.paths["/api/v1/jobs"].post.requestBody.content["application/json"];
  for (const { name, description, params_schema: schema } of pipelines) {
    const key = `params.${name}`;
    completed.components.schemas[key] = {
      ...relocated(schema, `#/components/schemas/${key}`),
      title: `Params of ${name}`,
      description: description || undefined,
    };
    body.examples[`pipeline ${name}`] = {
      summary: description ? `${name}: ${description}` : name,
      value: { pipeline: name, params: sampleOf(schema, schema) },
    };
  }
  return completed;
}

/** Return `contract` with the ids of objects as examples of the path parameters with these names. */
export function withIds(contract, ids) {
  const completed = structuredClone(contract);
  for (const operations of Object.values(completed.paths)) {
    for (const { parameters = [] } of Object.values(operations)) {
      for (const parameter of parameters) {
        if (parameter.in === "path" && ids[parameter.name]) parameter.example = ids[parameter.name];
      }
    }
  }
  return completed;
}

/** Return `schema` with its references, which begin at its own root, beginning at `root`. */
function relocated(schema, root) {
  return JSON.parse(JSON.stringify(schema), (key, value) =>
    key === "$ref" && typeof value === "string" && value.startsWith("#/") ? root + value.slice(1) : value,
  );
}

/** Return a value that shows what may be set: defaults, and the simplest value for what has none. */
function sampleOf(schema, root, depth = 0) {
  if (typeof schema !== "object" || depth > 8) return null;
  if ("default" in schema) return schema.default;
  if (schema.examples?.length) return schema.examples[0];
  if ("const" in schema) return schema.const;
  if (schema.enum) return schema.enum[0];
  if (schema.$ref) return sampleOf(resolved(schema.$ref, root), root, depth + 1);
  const alternatives = schema.anyOf ?? schema.oneOf;
  if (alternatives) return sampleOf(alternatives[0], root, depth + 1);
  switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
    case "object":
      return Object.fromEntries(
        Object.entries(schema.properties ?? {})
          .filter(([name, property]) => schema.required?.includes(name) || "default" in property)
          .map(([name, property]) => [name, sampleOf(property, root, depth + 1)]),
      );
    case "array":
      return Array.from({ length: schema.minItems ?? 0 }, () => sampleOf(schema.items ?? {}, root, depth + 1));
    case "integer":
    case "number":
      return schema.minimum ?? (schema.exclusiveMinimum ?? 0) + 1;
    case "boolean":
      return false;
    case "string":
      return "x".repeat(schema.minLength ?? 0) || "text";
    default:
      return null;
  }
}

function resolved(reference, root) {
  const names = reference.slice(2).split("/").map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
  return names.reduce((value, name) => value?.[name], root) ?? {};
}
