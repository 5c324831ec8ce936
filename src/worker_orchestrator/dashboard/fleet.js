// The machines as this page knows them: what was listed, and every event since.
//
// A reply tells how things stood when it was asked for, and events may overtake it. So each machine remembers the last event
// that it heard, and a reply that was asked for before that one brings only what events do not tell.

import { wordOf } from "./statemark.js";

const REMEMBERED_GONE = 2000;
const TELLS_ALL = new Set(["released", "expired", "withdrawn", "retired", "destroyed", "removed"]);

const OF_NOBODY = { metadata: {}, lease: null, configured: null, setup: null };

const GIVES_UP = new Set(["released", "expired", "withdrawn", "destroyed"]);

/** Whose the machine is after this event. One that ends an assignment tells whose it was. */
export const ownerAfter = ({ cause, project }) => (GIVES_UP.has(cause) ? null : project);

export class Fleet {
  machines = new Map();
  /** Ids of machines of which there is more to know than events tell: port, last log lines. */
  incomplete = new Set();
  #heard = new Map(); // id → the last event of it
  #gone = new Map(); // id → the event that forgot it

  /** Takes one event in. */
  apply(event) {
    const { id, at, machine, pool, generation, cause, state, reason } = event;
    const project = ownerAfter(event);
    if (state === null) {
      this.#forget(machine, id);
      return;
    }
    const known = this.machines.get(machine) ?? unknown(machine, pool, at);
    const told = { state: wordOf(state, project), project, generation, reason, changed_at: at };
    const url = cause === "removed" ? null : known.url;
    this.machines.set(machine, { ...known, ...told, url, ...(project ? {} : OF_NOBODY) });
    this.#heard.set(machine, id);
    if (!TELLS_ALL.has(cause)) this.incomplete.add(machine);
  }

  /** Of how long projects have their machines no event tells, as each keepalive or use puts it off. */
  readLeasesAgain() {
    for (const { id, lease } of this.machines.values()) if (lease) this.incomplete.add(id);
  }

  /** Takes in one machine of a reply; `place` is the last event that was heard when it was asked for. */
  put(told, place) {
    if ((this.#gone.get(told.id) ?? -1) > place) return;
    const known = this.machines.get(told.id);
    if (known && (this.#heard.get(told.id) ?? 0) > place && known.generation >= told.generation) {
      const { state, project, generation, reason, changed_at } = known;
      this.machines.set(told.id, { ...told, state, project, generation, reason, changed_at });
      if (told.changed_at !== changed_at) this.incomplete.add(told.id);
    } else {
      this.machines.set(told.id, told);
    }
  }

  /** Takes in a whole listing. */
  putAll(listing, place) {
    const listed = new Set(listing.map((one) => one.id));
    for (const id of this.machines.keys()) {
      if (!listed.has(id) && (this.#heard.get(id) ?? 0) <= place) this.#forget(id, place);
    }
    for (const one of listing) this.put(one, place);
  }

  /** It is not there, as a reply said. */
  drop(id, place) {
    if ((this.#heard.get(id) ?? 0) <= place) this.#forget(id, place);
  }

  /** Numbers of events begin anew. */
  startOver() {
    this.#heard.clear();
    this.#gone.clear();
  }

  #forget(id, event) {
    this.machines.delete(id);
    this.incomplete.delete(id);
    this.#heard.delete(id);
    this.#gone.set(id, event);
    if (this.#gone.size > REMEMBERED_GONE) this.#gone.delete(this.#gone.keys().next().value);
  }
}

function unknown(id, pool, at) {
  return { id, pool, url: null, host: "", port: null, container_id: null, address: null, template: "", evidence: "", created_at: at };
}
