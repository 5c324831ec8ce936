// A small chart without axes, beside the number that it led to.

import { html } from "./html.js";

const WIDTH = 48;
const HEIGHT = 16;
export const POINTS = 60;

/** `values` oldest first, null where there is none; `least` is the least that the top stands for. */
export function Spark({ values, least }) {
  const top = Math.max(least, ...values.filter((value) => value !== null));
  const step = WIDTH / (POINTS - 1);
  const left = WIDTH - (values.length - 1) * step;
  const points = values.flatMap((value, i) =>
    value === null ? [] : [`${(left + i * step).toFixed(1)},${(HEIGHT - 1 - (value / top) * (HEIGHT - 2)).toFixed(1)}`],
  );
  return html`<svg class="spark" viewBox="0 0 ${WIDTH} ${HEIGHT}" width=${WIDTH} height=${HEIGHT} aria-hidden="true">
    ${points.length > 1 && html`<polyline points=${points.join(" ")} />`}
  </svg>`;
}
