"use strict";
window.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  // Questions first: they can be tried without an effect.
  tagsSorter: (a, b) => (a === "questions" ? -1 : b === "questions" ? 1 : a.localeCompare(b)),
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
