// The lines on screen. Thousands of them come and go by themselves, so they are set by hand: what Preact would compare at each
// new line stays untouched here. All of it is text.

import { read } from "./ansi.js";

const LONGEST_SHOWN = 8_000;

/** At most `limit` lines in the element `box`, with hits of a search marked. */
export class LogList {
  #box; #limit;
  #lines = []; // {time, text, runs, row, hits}
  #pattern = null;
  #current = null;
  hits = 0;

  constructor(box, limit) {
    this.#box = box;
    this.#limit = limit;
  }

  get length() {
    return this.#lines.length;
  }

  add(lines) {
    const made = lines.slice(-this.#limit).map(({ time, raw }) => this.#made(time, raw));
    const rows = made.map((line) => line.row);
    if (made.length === this.#limit) {
      this.hits = made.reduce((sum, line) => sum + line.hits, 0);
      this.#lines = made;
      this.#box.replaceChildren(...rows); // far quicker than one by one
      return;
    }
    const surplus = this.#lines.length + made.length - this.#limit;
    if (surplus > 0) this.#lines.splice(0, surplus).forEach((line) => this.#drop(line));
    this.#lines.push(...made);
    this.#box.append(...rows);
  }

  /** Marks all that reads so, whatever its case. */
  search(text) {
    this.#pattern = text ? new RegExp(text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"), "gi") : null;
    this.#current = null;
    this.hits = 0;
    for (const line of this.#lines) {
      const had = line.hits;
      const found = this.#found(line);
      this.hits += line.hits;
      if (had || line.hits) paint(line, found);
    }
  }

  /** Goes to the next hit, or with -1 to the one before; the first time, to the last one. Its number, from 1, or 0. */
  step(by) {
    const marks = [...this.#box.querySelectorAll("mark")];
    if (!marks.length) return 0;
    const hits = marks.filter((mark) => !mark.dataset.goesOn);
    const at = hits.indexOf(this.#current);
    const next = at < 0 ? hits.length - 1 : (at + by + hits.length) % hits.length;
    this.#box.querySelectorAll("mark.current").forEach((mark) => mark.classList.remove("current"));
    this.#current = hits[next];
    for (let mark = this.#current; mark; mark = mark.nextElementSibling) {
      if (mark !== this.#current && !mark.dataset?.goesOn) break;
      mark.classList.add("current");
    }
    this.#current.scrollIntoView({ block: "center", inline: "nearest" });
    return next + 1;
  }

  /** The number of the hit that was gone to, from 1; 0 where none is. */
  get at() {
    if (!this.#current?.isConnected) return 0;
    return [...this.#box.querySelectorAll("mark:not([data-goes-on])")].indexOf(this.#current) + 1;
  }

  text() {
    return this.#lines.map(({ time, text }) => `${time} ${text}\n`).join("");
  }

  #made(time, raw) {
    const { text, runs } = read(raw.length > LONGEST_SHOWN ? `${raw.slice(0, LONGEST_SHOWN)} … ${raw.length - LONGEST_SHOWN} more characters` : raw);
    const row = document.createElement("div");
    row.className = "log-line";
    row.dataset.time = clock(time);
    const line = { time, text, runs, row, hits: 0 };
    paint(line, this.#found(line));
    this.hits += line.hits;
    return line;
  }

  #drop(line) {
    this.hits -= line.hits;
    line.row.remove();
  }

  #found(line) {
    const found = this.#pattern ? [...line.text.matchAll(this.#pattern)].map((hit) => [hit.index, hit.index + hit[0].length]) : [];
    line.hits = found.length;
    return found;
  }
}

/** The text of one line, cut wherever its look changes or a hit begins or ends. */
function paint({ row, text, runs }, hits) {
  const pieces = [];
  let at = 0, run = 0, hit = 0;
  while (at < text.length) {
    while (runs[run].end <= at) run += 1;
    while (hit < hits.length && hits[hit][1] <= at) hit += 1;
    const [from, to] = hits[hit] ?? [Infinity, Infinity];
    const isHit = from <= at;
    const end = Math.min(runs[run].end, isHit ? to : from);
    pieces.push(piece(text.slice(at, end), runs[run].look, isHit && (from === at ? "begins" : "goes on")));
    at = end;
  }
  row.replaceChildren(...pieces);
}

function piece(text, look, hit) {
  const hasLook = Object.keys(look).length > 0;
  if (!hit && !hasLook) return document.createTextNode(text);
  const element = document.createElement(hit ? "mark" : "span");
  element.textContent = text;
  if (hit === "goes on") element.dataset.goesOn = "true";
  if (hasLook) dress(element, look);
  return element;
}

function dress(element, { color, background, ...flags }) {
  for (const [flag, isOn] of Object.entries(flags)) if (isOn) element.classList.add(`ansi-${flag}`);
  if (isColor(color)) element.style.color = typeof color === "number" ? `var(--ansi-${color || 8})` : legible(color); // 0 is black
  if (isColor(background)) element.style.background = wash(background);
}

const isColor = (value) => value !== undefined && value !== null;

/** A colour that a program chose for a ground that it did not know. */
const legible = (value) => `color-mix(in srgb, ${value} 45%, var(--text))`;

/** So pale that every text can be read on it. */
const wash = (value) => `color-mix(in srgb, ${typeof value === "number" ? `var(--ansi-${value})` : value} 25%, var(--panel))`;

const two = (number) => String(number).padStart(2, "0");

/** The time of the day here, to the millisecond. */
function clock(time) {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return "";
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}
