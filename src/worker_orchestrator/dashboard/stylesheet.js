// Style sheets of what is loaded on demand: each once, and ready before it is used.

const loaded = new Map();

export function stylesheet(name) {
  if (!loaded.has(name)) loaded.set(name, load(new URL(name, import.meta.url).href).catch((error) => (loaded.delete(name), Promise.reject(error))));
  return loaded.get(name);
}

function load(href) {
  return new Promise((done, fail) => {
    const link = document.createElement("link");
    const onerror = () => (link.remove(), fail(new Error(`${href} cannot be read`)));
    document.head.append(Object.assign(link, { rel: "stylesheet", href, onload: done, onerror }));
  });
}
