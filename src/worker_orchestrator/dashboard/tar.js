// A tar archive of files that were chosen in the browser, as the service takes it with an assign. Pure: equal files, equal bytes.
//
// ustar, and for a path that does not fit there an entry in front that has it (GNU's `L`).

const BLOCK = 512;
const NAME = 100;
const LONG_NAME = "././@LongLink";

/** `entries` are `{path, bytes}`, sorted by path here. A browser tells no modes, so all are 0644. Returns the archive's bytes. */
export function packed(entries) {
  const sorted = [...entries].sort((a, b) => (a.path < b.path ? -1 : 1));
  const parts = sorted.flatMap(({ path, bytes }) => [...named(path), ...entry(encoded(path), bytes, "0")]);
  return joined([...parts, new Uint8Array(2 * BLOCK)]);
}

/** How many bytes the archive of files with these paths and sizes has. */
export function packedSize(files) {
  return files.reduce((sum, { path, size }) => sum + lengthOf(encoded(path)) + BLOCK + padded(size), 2 * BLOCK);
}

const lengthOf = (name) => (name.length > NAME ? BLOCK + padded(name.length + 1) : 0);
const padded = (size) => Math.ceil(size / BLOCK) * BLOCK;
const encoded = (text) => new TextEncoder().encode(text);

/** What stands before an entry whose path is too long for its head. */
function named(path) {
  const name = encoded(path);
  return name.length > NAME ? entry(encoded(LONG_NAME), joined([name, new Uint8Array(1)]), "L") : [];
}

function entry(name, bytes, type) {
  return [head(name, bytes.length, type), bytes, new Uint8Array(padded(bytes.length) - bytes.length)];
}

/** https://www.gnu.org/software/tar/manual/html_node/Standard.html */
function head(name, size, type) {
  const block = new Uint8Array(BLOCK);
  const put = (text, at) => block.set(typeof text === "string" ? encoded(text) : text, at);
  const octal = (value, digits) => `${value.toString(8).padStart(digits, "0")}\0`;
  put(name.subarray(0, NAME), 0);
  put(octal(0o644, 7), 100);
  put(octal(0, 7), 108);
  put(octal(0, 7), 116);
  put(octal(size, 11), 124);
  put(octal(0, 11), 136);
  put(" ".repeat(8), 148); // its checksum counts as blanks
  put(type, 156);
  put("ustar\x0000", 257);
  put(`${octal(block.reduce((sum, byte) => sum + byte, 0), 6)} `, 148);
  return block;
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** As a JSON text can carry them. */
export function base64(bytes) {
  const pieces = [];
  for (let at = 0; at < bytes.length; at += 8192) pieces.push(String.fromCharCode(...bytes.subarray(at, at + 8192)));
  return btoa(pieces.join(""));
}
