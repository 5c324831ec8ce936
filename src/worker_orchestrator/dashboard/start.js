// Starts the page, and starts it again if a part of it did not come: on a computer that starts containers a browser may drop all
// that it is loading (ERR_NETWORK_CHANGED), and the page would stay empty. So this file is loaded first, and alone.

const TRIES = "orchestrator.tries";
const MOST = 8;
const AHEAD = [
  "vendor/preact", "vendor/hooks", "vendor/htm", "html", "api", "live", "fleet", "eventstream", "queries", "redraw", "memo", "statemark", "format", "route",
  "overview", "pool", "pools", "standing", "actions", "assign", "configured", "attempts", "told", "image", "dialog", "history", "chart", "colours", "activity", "connection", "lazy", "login", "notice", "brand",
];

// The browser need not read one module to learn of the next.
for (const name of AHEAD) {
  document.head.append(Object.assign(document.createElement("link"), { rel: "modulepreload", href: new URL(`${name}.js`, import.meta.url).href }));
}

const isBare = () => [...document.querySelectorAll("link[rel=stylesheet]")].some((link) => !link.sheet);
const styles = new Promise((resolve, reject) => {
  const check = () => (isBare() ? reject(new TypeError("no styles")) : resolve());
  if (document.readyState === "complete") check();
  else addEventListener("load", check, { once: true });
});

Promise.all([import("./main.js"), styles]).then(
  () => sessionStorage.removeItem(TRIES),
  (error) => {
    const tries = Number(sessionStorage.getItem(TRIES)) + 1;
    sessionStorage.setItem(TRIES, tries);
    if (tries > MOST || !(error instanceof TypeError)) throw error;
    setTimeout(() => location.reload(), 100 * tries);
  },
);
