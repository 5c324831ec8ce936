// In a file of its own, since the page's Content-Security-Policy lets no inline script run.
window.ui = SwaggerUIBundle({
  url: new URL('../openapi.json', document.currentScript.src).href, // under whatever path a proxy shows it
  dom_id: '#page',
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  validatorUrl: null, // else it tells a validator on the internet of every description
});
