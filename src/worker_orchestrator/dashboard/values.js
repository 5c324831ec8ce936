// The fields for what a project gives a machine that runs already: variables, secrets and files. Secrets are in no storage, no
// address and no attribute of the page, and are forgotten as soon as they were sent, whatever came of it.

import { bytes, count } from "./format.js";
import { html, useEffect, useId, useLayoutEffect, useRef, useState } from "./html.js";
import { base64, packed, packedSize } from "./tar.js";
import { coded } from "./told.js";

const MOST_FILES_BYTES = 1024 * 1024;
const MOST_VALUE_BYTES = 64 * 1024;
const VARIABLE = { pattern: "[A-Za-z_][A-Za-z0-9_]*", title: "Letters, digits and _, and no digit in front" };
const SECRET = { pattern: "(?!\\.{1,2}$)[A-Za-z0-9_.\\-]+", title: "Letters, digits and _ . -" };

/**
 * `given.current` is `{collect, forget}`: the first returns what a request is to bring, and raises an Error that says what is
 * wrong; the second forgets the secrets. `isReplacing`: what the machine is configured with is to be replaced, unless changed.
 */
export function Values({ given, isReplacing = false }) {
  const variables = useRows();
  const secrets = useRows();
  const [files, setFiles] = useState(() => new Map()); // by path
  const [replaces, setReplaces] = useState(isReplacing);
  const id = useId();
  given.current = {
    collect: () => bodyOf({ variables: variables.rows, secrets: secrets.rows, files, replaces }),
    forget: secrets.forget,
  };
  useEffect(() => () => (given.current = null), []);
  return html`<div class="values">
    <${Group} title="Environment" what="variable" rows=${variables} Row=${Variable} />
    <${Group} title="Secrets" what="secret" rows=${secrets} Row=${Secret} />
    <${Files} files=${files} setFiles=${setFiles} />
    <div>
      <label class="check">
        <input type="checkbox" checked=${replaces} onChange=${({ target }) => setReplaces(target.checked)} aria-describedby="${id}-hint" />
        Replace
      </label>
      <p id="${id}-hint" class="muted">Also if it was configured with other values, which is refused else.</p>
    </div>
  </div>`;
}

/** Names with values, of which each row is one. `from` names the file that a value is from. */
function useRows() {
  const [rows, setRows] = useState([]);
  const last = useRef(0);
  return {
    rows,
    add: () => setRows((old) => [...old, { key: (last.current += 1), name: "", value: "", from: "" }]),
    change: (key, changes) => setRows((old) => old.map((row) => (row.key === key ? { ...row, ...changes } : row))),
    remove: (key) => setRows((old) => old.filter((row) => row.key !== key)),
    forget: () => setRows((old) => old.map((row) => ({ ...row, value: "", from: "" }))),
  };
}

function Group({ title, what, rows, Row }) {
  const id = useId();
  const add = useRef(null);
  const remove = (key) => {
    rows.remove(key);
    add.current.focus();
  };
  return html`<div role="group" aria-labelledby=${id}>
    <div class="head"><h3 id=${id}>${title}</h3><button type="button" ref=${add} onClick=${rows.add}>Add a ${what}</button></div>
    ${rows.rows.length > 0 && html`<ul>
      ${rows.rows.map((row, index) => html`<${Row}
        key=${row.key} ...${{ row, what: `${what} ${index + 1}` }} onChange=${(changes) => rows.change(row.key, changes)} onRemove=${() => remove(row.key)}
      />`)}
    </ul>`}
  </div>`;
}

const PLAIN = { autocomplete: "off", autocapitalize: "off", spellcheck: false };

/** The name of a row; the one that was just added has the focus. */
function Name({ row, what, rule, onChange }) {
  const input = useRef(null);
  useLayoutEffect(() => input.current.focus(), []); // before anything more is typed
  return html`<input
    ref=${input} ...${PLAIN} ...${rule} value=${row.name} maxlength="128" required=${row.value !== ""} aria-label=${`Name of ${what}`} placeholder="Name"
    onInput=${({ target }) => onChange({ name: target.value.trim() })}
  />`;
}

const Remove = ({ row, what, onRemove }) => html`<button type="button" class="plain" aria-label=${`Remove ${row.name || what}`} onClick=${onRemove}>×</button>`;

function Variable({ row, what, onChange, onRemove }) {
  return html`<li>
    <${Name} ...${{ row, what, onChange }} rule=${VARIABLE} />
    <input
      ...${PLAIN} value=${row.value} maxlength=${MOST_VALUE_BYTES} aria-label=${`Value of ${what}`} placeholder="Value"
      onInput=${({ target }) => onChange({ value: target.value })}
    />
    <${Remove} ...${{ row, what, onRemove }} />
  </li>`;
}

/** It is typed in unseen, or comes from a file just as that is. */
function Secret({ row, what, onChange, onRemove }) {
  const [problem, setProblem] = useState("");
  const take = async (file) => {
    try {
      onChange({ value: await textOf(file), from: `${file.name}, ${bytes(file.size)}` });
      setProblem("");
    } catch (error) {
      setProblem(error.message);
    }
  };
  return html`<li class="secret">
    <${Name} ...${{ row, what, onChange }} rule=${SECRET} />
    ${row.from
      ? html`<span class="from" title=${row.from}>${row.from}</span>`
      : html`<input
          type="password" ...${PLAIN} value=${row.value} maxlength=${MOST_VALUE_BYTES} required=${row.name !== ""}
          aria-label=${`Value of ${what}`} placeholder="Value" onInput=${({ target }) => onChange({ value: target.value })}
        />`}
    <${Chooser} label=${`Value of ${what} from a file`} onFiles=${([file]) => take(file)}>File…<//>
    <${Remove} ...${{ row, what, onRemove }} />
    ${problem && html`<p class="refused" role="alert">${problem}</p>`}
  </li>`;
}

/** A button that has the browser ask for files. `more` are attributes of its input. */
function Chooser({ label, more, onFiles, children }) {
  const input = useRef(null);
  const onChange = ({ target }) => {
    const chosen = [...target.files];
    target.value = ""; // so that the same one can be chosen again
    if (chosen.length) onFiles(chosen);
  };
  return html`<button type="button" aria-label=${label} onClick=${() => input.current.click()}>${children}</button>
    <input ref=${input} type="file" hidden tabindex="-1" aria-label=${label} ...${more} onChange=${onChange} />`;
}

function Files({ files, setFiles }) {
  const id = useId();
  const [problem, setProblem] = useState("");
  const add = (chosen) => {
    const together = new Map([...files, ...chosen.map((file) => [pathOf(file), file])]);
    const size = sizeOf(together);
    if (size > MOST_FILES_BYTES) return setProblem(tooLarge(size));
    setProblem("");
    setFiles(together);
  };
  const clear = () => (setFiles(new Map()), setProblem(""));
  return html`<div role="group" aria-labelledby=${id}>
    <div class="head">
      <h3 id=${id}>Files</h3>
      <${Chooser} more=${{ multiple: true }} onFiles=${add}>Choose files…<//>
      <${Chooser} more=${{ webkitdirectory: true }} onFiles=${add}>Choose a folder…<//>
    </div>
    <p class="chosen muted" role="status">
      ${files.size > 0 && html`<span title=${[...files.keys()].slice(0, 20).join("\n")}>${count(files.size, "file")}, ${bytes(sizeOf(files))} as an archive</span>
        <button type="button" class="plain" aria-label="Remove all files" onClick=${clear}>×</button>`}
    </p>
    ${problem && html`<p class="refused" role="alert">${coded(problem)}</p>`}
  </div>`;
}

/** Of a folder its content is sent, as the command line does it: without the folder's own name. */
const pathOf = (file) => file.webkitRelativePath.split("/").slice(1).join("/") || file.name;

const sizeOf = (files) => packedSize([...files].map(([path, { size }]) => ({ path, size })));

const tooLarge = (size) =>
  `These files are ${bytes(size)} as an archive, and an assign takes 1 MiB, so they were not taken. Assign without them, and copy ` +
  "them afterwards: `orchestrator cp FOLDER PROJECT:PATH`.";

/** What a request is to bring; nothing for what is not given. Raises Error. */
async function bodyOf({ variables, secrets, files, replaces }) {
  const body = {};
  if (variables.some(isGiven)) body.env = byName(variables, "variable");
  if (secrets.some(isGiven)) body.secrets = byName(secrets, "secret");
  if (files.size) body.files = base64(packed(await Promise.all([...files].map(read))));
  if (replaces && Object.keys(body).length) body.replace = true;
  return body;
}

const isGiven = ({ name }) => name !== "";

function byName(rows, what) {
  const given = rows.filter(isGiven);
  const twice = given.find(({ name }, index) => given.findIndex((other) => other.name === name) < index);
  if (twice) throw new Error(`The ${what} ${twice.name} is given twice.`);
  return Object.fromEntries(given.map(({ name, value }) => [name, value]));
}

async function read([path, file]) {
  try {
    return { path, bytes: new Uint8Array(await file.arrayBuffer()) };
  } catch {
    throw new Error(`${path} cannot be read any more. Choose it again.`);
  }
}

/** The text in a file, with all of its line ends. Raises Error. */
async function textOf(file) {
  if (file.size > MOST_VALUE_BYTES) throw new Error(`${file.name} has ${bytes(file.size)}, but a secret may have 64 KiB. Send it as a file.`);
  const content = await file.arrayBuffer().catch(() => null);
  if (content === null) throw new Error(`${file.name} cannot be read.`);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content);
  } catch {
    throw new Error(`${file.name} is not UTF-8 text. Send it as a file.`);
  }
}
