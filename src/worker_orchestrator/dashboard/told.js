// Texts of the service. What stands in back-ticks in them is code; where this page can do what a command does, it leads there
// instead.

import { html } from "./html.js";

const FAILED = { name: "Show failed machines", href: "#/machines?state=failed" };
const ALL = { name: "Show machines", href: "#/machines" };

/** By the word after `orchestrator`: where its machines are shown, each with buttons for what can be done. */
const PLACES = {
  list: (command) => (/--state[ =]failed/.test(command) ? FAILED : ALL),
  cp: () => FAILED,
  restart: () => FAILED,
};

/** The text, with its commands as code. */
export const coded = (text) => text.split(/`([^`]+)`/).map((part, index) => (index % 2 ? html`<code>${part}</code>` : part));

/** The same where no element may stand, as in a title. */
export const uncoded = (text) => text.replace(/`([^`]+)`/g, "$1");

const placeOf = (command) => PLACES[/^orchestrator ([a-z]+)/.exec(command)?.[1]]?.(command);
const commandsOf = (text) => [...text.matchAll(/`([^`]+)`/g)].map(([, command]) => command);

/** Whether it tells to resume a pool, as the pool itself does on this page. Pure. */
export const isOfPausedPool = (text) => commandsOf(text).some((command) => /^orchestrator resume\b/.test(command));

/** `{text, places}`: without the sentences that name nothing but commands for which there is a place. Pure. */
export function withPlaces(said) {
  const places = new Set();
  const sentences = said.split(/(?<=[.!?]) (?=[A-Z`])/);
  const kept = sentences.filter((sentence) => {
    const found = commandsOf(sentence).map(placeOf);
    if (!found.length || found.includes(undefined)) return true;
    found.forEach((place) => places.add(place));
    return false;
  });
  return { text: (kept.length ? kept : sentences).join(" "), places: [...places] };
}

/** `text` in words, then links to where something can be done. */
export function Advice({ text: said }) {
  const { text, places } = withPlaces(said);
  return html`<span class="advice">${coded(text)}${places.map(({ name, href }) => html`${" "}<a key=${name} href=${href}>${name}</a>`)}</span>`;
}
