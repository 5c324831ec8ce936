// The screen of a terminal: xterm.js in our colours, as large as its place, and with a way out for the keyboard. It is large, so
// it is loaded when the first terminal is opened.

import { colour } from "./colours.js";
import { strictDocument, withStrictDocument } from "./strictdocument.js";
import { stylesheet } from "./stylesheet.js";

const LEAVES_WITHIN_MS = 2000;
const MOST_WAITING_BYTES = 4 * 1024 * 1024;
const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

let loaded = null;

/** The library and its looks, once. */
function load() {
  const parts = [import("./vendor/xterm.js"), import("./vendor/xterm-fit.js"), stylesheet("vendor/xterm.css")];
  loaded ??= Promise.all(parts).catch((error) => {
    loaded = null; // so that a later try may succeed
    throw error;
  });
  return loaded;
}

/** A screen in the element `box`. `onBytes` gets what is typed, `onSize(columns, rows)` each new size. */
export async function openScreen(box, { onBytes, onSize, readsAloud }) {
  const [{ Terminal }, { FitAddon }] = await load();
  const terminal = new Terminal({
    documentOverride: strictDocument(),
    fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"),
    fontSize: 13,
    lineHeight: 1.2,
    minimumContrastRatio: 4.5,
    scrollback: 5000,
    screenReaderMode: readsAloud,
    theme: theme(),
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  withStrictDocument(() => terminal.open(box));
  // Version 6 makes its rows with the page's document, whatever it was given.
  terminal._core._renderService._renderer.value._rowFactory._document = terminal.options.documentOverride;
  const fitted = () => box.clientHeight && fit.fit();
  fitted();
  const encoder = new TextEncoder();
  terminal.onData((text) => onBytes(encoder.encode(text)));
  terminal.onBinary((text) => onBytes(Uint8Array.from(text, (one) => one.charCodeAt(0))));
  terminal.onResize(({ cols, rows }) => onSize(cols, rows));
  terminal.attachCustomKeyEventHandler(leaving(terminal));
  const observer = new ResizeObserver(fitted);
  observer.observe(box);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const recolour = () => (terminal.options.theme = theme());
  scheme.addEventListener("change", recolour);
  return {
    get columns() { return terminal.cols; },
    get rows() { return terminal.rows; },
    write: bounded(terminal),
    focus: () => terminal.focus(),
    readAloud: (isOn) => (terminal.options.screenReaderMode = isOn),
    /** Nothing is typed into it any more. */
    freeze() {
      terminal.options.disableStdin = true;
      terminal.options.cursorBlink = false;
      terminal.write("\x1b[?25l");
    },
    close() {
      scheme.removeEventListener("change", recolour);
      observer.disconnect();
      terminal.dispose();
    },
  };
}

/** Writes, but drops what comes faster than it can be shown: a browser cannot tell a WebSocket to wait. */
function bounded(terminal) {
  let waiting = 0, isDropping = false;
  return (bytes) => {
    if (waiting > MOST_WAITING_BYTES) {
      isDropping = true;
      return;
    }
    if (isDropping) terminal.write("\x1b[0m\r\n[some output was left out]\r\n");
    isDropping = false;
    waiting += bytes.length;
    terminal.write(bytes, () => (waiting -= bytes.length));
  };
}

/** Tab belongs to the program, so Escape and then Tab leaves; and Ctrl-C copies where something is selected. */
function leaving(terminal) {
  let escapedAt = -Infinity;
  return (event) => {
    if (event.type !== "keydown") return true;
    if (event.key === "Tab" && event.timeStamp - escapedAt < LEAVES_WITHIN_MS) return false;
    if (event.key !== "Shift") escapedAt = event.key === "Escape" ? event.timeStamp : -Infinity;
    return !(event.ctrlKey && event.key === "c" && terminal.hasSelection());
  };
}

/** What the style sheet says, as colours that xterm.js can read. */
function theme() {
  const all = {
    background: colour("panel"), foreground: colour("text"), cursor: colour("text"), cursorAccent: colour("panel"),
    selectionBackground: colour("selection"),
  };
  NAMES.forEach((name, index) => {
    all[name] = colour(`ansi-${index}`);
    all[`bright${name[0].toUpperCase()}${name.slice(1)}`] = colour(`ansi-${index + 8}`);
  });
  return all;
}
