// Begins the page, and begins again where a part of it did not come: on a computer that starts containers a browser may drop all
// that it is loading (ERR_NETWORK_CHANGED), and what is missing then would leave an empty page. So this is loaded alone, first.

const TRIES = "orchestrator.tries";
const MOST = 8;
const AHEAD = [
  "vendor/preact", "vendor/hooks", "vendor/htm", "html", "api", "live", "fleet", "stream", "reading", "watch", "still", "mark", "format", "route",
  "overview", "pools", "actions", "dialog", "history", "chart", "colours", "activity", "connection", "later", "login", "notice", "brand",
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
