window.SwaggerUIBundle({
  url: new URL("openapi.json", location.href).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  // The validator would be asked over the internet.
  validatorUrl: null,
});
