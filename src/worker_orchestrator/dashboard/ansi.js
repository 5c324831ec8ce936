// What programs write to colour their output, read into runs of text with a look. Nothing else of it survives: what moves a
// cursor or rings a bell has no place in a list of lines. A look ends with its line, so that a forgotten reset colours nothing more.

// CSI, OSC, the strings of DCS and its kin, and the short ones; then what else has no glyph, but not the tab.
const SEQUENCE = /\x1b(?:\[([0-9:;<=>?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])/g;
const CONTROLS = /[\x00-\x08\x0a-\x1f\x7f-\x9f]/g;
const PLAIN = Object.freeze({});
const SWITCHES = {
  1: { bold: true }, 2: { dim: true }, 3: { italic: true }, 4: { underline: true }, 7: { inverse: true }, 9: { strike: true },
  21: { underline: true }, 22: { bold: false, dim: false }, 23: { italic: false }, 24: { underline: false },
  27: { inverse: false }, 29: { strike: false }, 39: { color: null }, 49: { background: null },
};

/**
 * @param {string} raw one line, without its end
 * @returns {{text: string, runs: {end: number, look: object}[]}} what is seen, and up to where in it which look holds.
 *   A colour is a number of the palette, 0 to 15, or a CSS colour.
 */
export function read(raw) {
  const seen = overwritten(raw);
  if (!seen.includes("\x1b")) {
    const text = seen.replace(CONTROLS, "");
    return { text, runs: [{ end: text.length, look: PLAIN }] };
  }
  let text = "", look = PLAIN, from = 0;
  const runs = [];
  const take = (piece) => {
    text += piece.replace(CONTROLS, "");
    if (text.length > (runs.at(-1)?.end ?? 0)) runs.push({ end: text.length, look });
  };
  for (const sequence of seen.matchAll(SEQUENCE)) {
    take(seen.slice(from, sequence.index));
    from = sequence.index + sequence[0].length;
    if (sequence[2] === "m") look = changed(look, sequence[1]);
  }
  take(seen.slice(from));
  return { text, runs };
}

/** What a carriage return leaves: the last thing that was written over the line. */
function overwritten(raw) {
  const whole = raw.replace(/\r+$/, "");
  return whole.slice(whole.lastIndexOf("\r") + 1);
}

function changed(look, parameters) {
  const codes = parameters.split(/[;:]/).map(Number);
  let now = { ...look };
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at];
    if (code === 38 || code === 48) {
      const [color, used] = extended(codes.slice(at + 1));
      if (color !== null) now[code === 38 ? "color" : "background"] = color;
      at += used;
    } else now = code === 0 ? {} : { ...now, ...(SWITCHES[code] ?? palette(code)) };
  }
  return now;
}

function palette(code) {
  for (const [first, key, base] of [[30, "color", 0], [90, "color", 8], [40, "background", 0], [100, "background", 8]]) {
    if (code >= first && code <= first + 7) return { [key]: code - first + base };
  }
  return PLAIN;
}

/** The colour behind a 38 or 48, and how many of the numbers it took. */
function extended([kind, ...rest]) {
  if (kind === 2) return [`rgb(${rest.slice(0, 3).map((part) => part & 255).join(" ")})`, 4];
  return kind === 5 ? [ofCube(rest[0] & 255), 2] : [null, 1];
}

function ofCube(index) {
  if (index < 16) return index;
  if (index >= 232) return `rgb(${Array(3).fill(8 + (index - 232) * 10).join(" ")})`;
  const level = (step) => (step ? 55 + step * 40 : 0);
  const at = index - 16;
  return `rgb(${level(Math.floor(at / 36))} ${level(Math.floor(at / 6) % 6)} ${level(at % 6)})`;
}
