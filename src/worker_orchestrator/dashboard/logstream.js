// The output of a worker, line by line, for as long as somebody looks. It asks for the time of each line, since that alone says,
// after the service or the worker was away, which of the last lines are new.

import { open } from "./api.js";

export const LINES = 5_000;
const LONGEST_LINE = 64 * 1024;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;

/** Hands lines, `{time, raw}`, to `onLines` and what it is at to `onPhase(phase, message)`:
 *  `reading`, `ended` (the worker has, or has no container), `lost` (nobody answers, or not now), `gone` (there is no such machine). */
export class LogStream {
  #id; #onLines; #onPhase;
  #abort = null;
  #newest = ""; // the time of the last line, and how many lines bear it
  #ofNewest = 0;

  constructor(id, onLines, onPhase) {
    this.#id = id;
    this.#onLines = onLines;
    this.#onPhase = onPhase;
  }

  start() {
    if (this.#abort) return;
    this.#abort = new AbortController();
    this.#run(this.#abort.signal);
  }

  stop() {
    this.#abort?.abort();
    this.#abort = null;
  }

  async #run(signal) {
    let pauseMs = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      try {
        if (await this.#follow(signal)) pauseMs = FIRST_PAUSE_MS;
        if (!signal.aborted) this.#onPhase("ended", "");
      } catch (error) {
        if (signal.aborted) return;
        if (error.status === 401) return;
        if (error.status === 404) return this.#onPhase("gone", error.message);
        if (error.status === 409) return this.#onPhase("ended", error.message); // there is no container now
        this.#onPhase("lost", error.message);
      }
      await pause(pauseMs, signal);
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    }
  }

  /** To the end of the stream; whether it brought anything new. */
  async #follow(signal) {
    const path = `/v1/machines/${encodeURIComponent(this.#id)}/logs?follow=true&timestamps=true&tail=${LINES}`;
    const response = await open(path, { signal, headers: { Accept: "text/plain" } });
    this.#onPhase("reading", "");
    const isNew = this.#sieve();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "", brought = false;
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        if (signal.aborted) throw error;
        throw Object.assign(new Error("The stream broke off."), { status: 0 });
      });
      const whole = ((done ? rest && `${rest}\n` : rest + value)).split("\n");
      rest = whole.pop();
      if (rest.length > LONGEST_LINE) whole.push(rest), (rest = "");
      const lines = whole.slice(-LINES).map(parted).filter(isNew);
      if (lines.length) (brought = true), this.#onLines(lines);
      if (done) return brought;
    }
  }

  /** Tells new lines from those that were seen before the stream broke off. */
  #sieve() {
    const last = this.#newest;
    let known = this.#ofNewest;
    return ({ time }) => {
      if (time && (time < last || (time === last && known-- > 0))) return false;
      if (time > this.#newest) (this.#newest = time), (this.#ofNewest = 0);
      if (time === this.#newest) this.#ofNewest += 1;
      return true;
    };
  }
}

function parted(line) {
  const found = /^(\d{4}-\d\d-\d\dT[\d:.]+Z) ?/.exec(line);
  return found ? { time: found[1], raw: line.slice(found[0].length) } : { time: "", raw: line };
}

function pause(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
  });
}
