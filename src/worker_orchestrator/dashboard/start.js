// Begins the page, and begins again where a part of it did not come: on a computer that starts containers all the time a browser
// may drop what it is loading (ERR_NETWORK_CHANGED), and a module that is missing would leave an empty page.

const TRIES = "orchestrator.tries";
const MOST = 5;

import("./main.js").then(
  () => sessionStorage.removeItem(TRIES),
  (error) => {
    const tries = Number(sessionStorage.getItem(TRIES)) + 1;
    sessionStorage.setItem(TRIES, tries);
    if (tries > MOST || error instanceof SyntaxError) throw error;
    setTimeout(() => location.reload(), 200 * tries);
  },
);
