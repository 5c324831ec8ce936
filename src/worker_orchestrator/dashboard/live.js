// What the service is and does, as it happens: listed once, then told by its events. Whoever draws it subscribes.
//
// The connection is `connecting`, `live`, or `lost` since the time at which something was heard last. It comes back by itself,
// and is `live` again only when everything was read anew: no old number is ever shown as a new one. A hidden tab lets go of
// its connection after a while, since a browser has six for one service.

import { open } from "./api.js";
import { readEvents } from "./eventstream.js";
import { Fleet } from "./fleet.js";
import { dated, readMachine, readMachines, readPastEvents, readPools } from "./queries.js";

export { useClock, useLive } from "./redraw.js";

const EVENTS_KEPT = 200;
const NOTIFY_MS = 80;
const POLL_MS = 2000;
const POLL_SOON_MS = 1000;
const COMPLETE_MS = 250;
const LIST_AGAIN_FROM = 8;
const SILENT_MS = 40_000; // the service says something every 15 s
const ANSWER_MS = 6000;
const RETRY_MS = [50, 400, 800, 1500, 3000];
const LEASES_MS = 10_000;
const GRACE_MS = 1000; // a connection that is back so soon was never away
const HIDDEN_MS = 20_000;

export class Live {
  fleet = new Fleet();
  pools = [];
  health = null;
  /** The last events, newest first. */
  events = [];
  connection = { state: "connecting", since: Date.now() };
  #listeners = new Set();
  #place = null;
  #heardAt = Date.now();
  #leasesReadAt = Date.now();
  #stream = null;
  #timers = {};
  #tries = 0;
  #ended = false;

  get machines() {
    return this.fleet.machines;
  }

  get isLive() {
    return this.connection.state === "live";
  }

  start() {
    document.addEventListener("visibilitychange", this.#seen);
    this.#connect();
    this.#after("poll", POLL_MS, () => this.#poll());
  }

  stop() {
    this.#ended = true;
    document.removeEventListener("visibilitychange", this.#seen);
    Object.values(this.#timers).forEach(clearTimeout);
    this.#stream?.abort();
  }

  /** `listener()` is called after changes, some times a second at most. Returns what ends that. */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What a call just answered, so that it shows at once. */
  putMachine(machine) {
    this.fleet.put(machine, -1); // unless events have told more
    this.#notify();
  }

  putPool(pool) {
    const { name, limit } = pool; // the limit is that of all
    this.pools = this.pools.map((one) => (one.name === name ? dated(pool) : { ...one, limit }));
    this.#notify();
  }

  /** Try now, instead of when the pause is over. */
  retry() {
    this.#tries = 0;
    if (!this.#stream) this.#connect();
  }

  #notify() {
    this.#timers.notify ??= setTimeout(() => this.#tell(), NOTIFY_MS);
  }

  #tell() {
    clearTimeout(this.#timers.notify);
    this.#timers.notify = null;
    for (const listener of this.#listeners) listener();
  }

  #after(name, delay, act) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = this.#ended ? null : setTimeout(act, delay);
  }

  #become(state) {
    clearTimeout(this.#timers.grace);
    this.#timers.grace = null;
    if (this.connection.state !== state) {
      this.connection = { state, since: state === "live" ? Date.now() : this.#heardAt };
      this.#tell(); // without the pause: somebody waits for the first look
    }
  }

  async #connect() {
    clearTimeout(this.#timers.connect);
    if (this.#ended || this.#stream) return;
    const stream = (this.#stream = new AbortController());
    try {
      const again = this.#place === null ? {} : { "Last-Event-ID": String(this.#place) };
      const response = await open("/v1/events", { signal: stream.signal, headers: { Accept: "text/event-stream", ...again } });
      let isToRead = true;
      await readEvents(response, (told) => {
        this.#hear(told, stream);
        if (isToRead || told.event === "reset") this.#readAll(stream);
        isToRead = false;
      });
    } catch (problem) {
      if (problem.status === 401) return this.stop();
    }
    if (this.#stream === stream) this.#lose("lost");
  }

  #lose(state) {
    this.#stream?.abort();
    this.#stream = null;
    clearTimeout(this.#timers.silence);
    if (this.#ended) return;
    if (state === "lost" && this.isLive) this.#timers.grace ??= setTimeout(() => this.#become("lost"), GRACE_MS);
    else this.#become(state);
    const pause = RETRY_MS[Math.min(this.#tries, RETRY_MS.length - 1)];
    this.#tries += 1;
    if (!document.hidden) this.#after("connect", pause, () => this.#connect());
  }

  #hear({ id, event, data }, stream) {
    if (this.#stream !== stream) return;
    this.#heardAt = Date.now();
    this.#after("silence", SILENT_MS, () => this.#lose("lost"));
    if (event === "reset") this.#startOver();
    if (id) this.#place = Number(id);
    if (event === "reset" || !data) return;
    const told = JSON.parse(data);
    this.fleet.apply(told);
    this.events = [told, ...this.events.slice(0, EVENTS_KEPT - 1)];
    this.#timers.soon ??= setTimeout(() => this.#pollSoon(), COMPLETE_MS);
    this.#timers.complete ??= setTimeout(() => this.#complete(), COMPLETE_MS);
    this.#notify();
  }

  /** Events were lost: what they told is read anew, and what is shown of before has a gap behind it. */
  #startOver() {
    this.fleet.startOver();
    this.events = [];
    this.connection = { ...this.connection, since: Date.now() }; // whoever shows what was told reads it anew as well
  }

  /** All of it: the beginning of a connection, and after events were lost. */
  async #readAll(stream) {
    try {
      await Promise.all([this.#list(stream.signal), this.#readPools(stream.signal), this.#lookBack(stream.signal)]);
      this.#tries = 0;
      this.#become("live");
    } catch (problem) {
      if (this.#stream === stream) this.#lose("lost");
    }
  }

  async #list(signal) {
    const place = this.#place;
    this.fleet.putAll(await readMachines(signal), place);
    this.#notify();
  }

  /** What happened before this page was opened, for a look back. */
  async #lookBack(signal) {
    if (this.events.length) return;
    const past = await readPastEvents(Math.max(0, this.#place - EVENTS_KEPT), signal);
    const known = new Set(this.events.map((one) => one.id));
    this.events = [...this.events, ...past.filter((one) => !known.has(one.id))].slice(0, EVENTS_KEPT);
  }

  async #readPools(signal = AbortSignal.timeout(ANSWER_MS)) {
    Object.assign(this, await readPools(signal));
    this.#heardAt = Date.now();
    this.#notify();
  }

  /** Of sizes, lines and the brake no event tells; and a service that hangs says nothing of it. */
  async #poll() {
    if (this.#stream && !document.hidden) {
      try {
        await this.#readPools();
        this.#readLeases();
      } catch (problem) {
        if (problem.status === 0 || problem.name === "TimeoutError") this.#lose("lost");
      }
    }
    const isMoving = this.pools.some((pool) => pool.waiting || pool.back_off);
    this.#after("poll", isMoving ? POLL_SOON_MS : POLL_MS, () => this.#poll());
  }

  /** Now and then: no event tells of keepalives. */
  #readLeases() {
    if (Date.now() - this.#leasesReadAt < LEASES_MS) return;
    this.#leasesReadAt = Date.now();
    this.fleet.readLeasesAgain();
    if (this.fleet.incomplete.size) this.#timers.complete ??= setTimeout(() => this.#complete(), COMPLETE_MS);
  }

  async #pollSoon() {
    await this.#poll();
    this.#timers.soon = null;
  }

  /** Asks for what events do not tell: machine by machine where they are few. */
  async #complete() {
    this.#timers.complete = null;
    const ids = [...this.fleet.incomplete];
    this.fleet.incomplete.clear();
    if (!this.#stream || !ids.length) return;
    const { signal } = this.#stream;
    const asked = ids.length < LIST_AGAIN_FROM ? Promise.all(ids.map((id) => this.#readOne(id, signal))) : this.#list(signal);
    await asked.catch(() => {}); // what could not be read is read with the next event, or when the connection is back
    if (this.fleet.incomplete.size) this.#timers.complete ??= setTimeout(() => this.#complete(), POLL_SOON_MS);
  }

  async #readOne(id, signal) {
    const place = this.#place;
    const told = await readMachine(id, signal);
    if (told) this.fleet.put(told, place);
    else this.fleet.drop(id, place);
    this.#notify();
  }

  #seen = () => {
    if (document.hidden) this.#after("hidden", HIDDEN_MS, () => this.#lose("connecting"));
    else {
      clearTimeout(this.#timers.hidden);
      if (!this.#stream) this.retry();
      this.#poll();
    }
  };
}
