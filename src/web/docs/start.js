// The service may be published below a path, where this script is at PATH/docs/page/start.js.
const ROOT = new URL("../../", document.currentScript.src);

SwaggerUIBundle({
  url: new URL("openapi.json", ROOT).href,
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
