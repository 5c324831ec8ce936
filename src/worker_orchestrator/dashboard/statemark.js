// What a state is: a shape and a word. Its colour only helps.

import { html } from "./html.js";

const SHAPES = {
  idle: html`<circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="2" />`,
  assigned: html`<circle cx="6" cy="6" r="5" fill="currentColor" />`,
  parked: html`<circle cx="6" cy="6" r="5" fill="none" stroke="currentColor" stroke-width="1.5" /><path d="M4.6 3.8v4.4M7.4 3.8v4.4" stroke="currentColor" stroke-width="1.5" />`,
  starting: html`<path d="M6 1a5 5 0 1 1-5 5" fill="none" stroke="currentColor" stroke-width="2" />`,
  restarting: html`<path d="M6 1a5 5 0 1 1-5 5M6 4v2h3" fill="none" stroke="currentColor" stroke-width="2" />`,
  sleeping: html`<path d="M8.5 1.5a5 5 0 1 0 2 6.5a4 4 0 0 1 -2 -6.5" fill="currentColor" />`,
  stopping: html`<rect x="2" y="2" width="8" height="8" fill="none" stroke="currentColor" stroke-width="2" />`,
  failed: html`<path d="M2 2l8 8M10 2l-8 8" stroke="currentColor" stroke-width="2.5" />`,
  gone: html`<path d="M2 6h8" stroke="currentColor" stroke-width="2" />`,
  ok: html`<path d="M1.5 6.5l3 3 6-7" fill="none" stroke="currentColor" stroke-width="2" />`,
  warning: html`<path d="M6 1l5.5 10H.5z" fill="currentColor" />`,
  paused: html`<path d="M3.5 2v8M8.5 2v8" stroke="currentColor" stroke-width="2.5" />`,
};

/** `shape` is how it looks, where that is not the state itself; `children` what is said, where that is not its word. */
export function Mark({ state, shape = state, children = state }) {
  return html`<span class="mark ${shape}">
    <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">${SHAPES[shape] ?? SHAPES.gone}</svg>
    <span>${children}</span>
  </span>`;
}

/** The state of a machine in one word, from what an event tells: life and project are two things. */
export function wordOf(state, project) {
  if (state === "ready") return project ? "assigned" : "idle";
  if (state === "starting") return project ? "restarting" : "starting";
  return state ?? "gone";
}

export const STATES = ["idle", "parked", "starting", "assigned", "restarting", "sleeping", "stopping", "failed"];
