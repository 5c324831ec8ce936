// Of which image a machine is made. Where room is scarce, the tag is what tells two of them apart: what stands before it is cut.

import { html } from "./html.js";

/** `[registry and folders, name, tag or digest]`. Pure. */
export function partsOf(image) {
  const [, name, digest] = /^([^@]*)(@.+)?$/.exec(image) ?? [null, image];
  const slash = name.lastIndexOf("/");
  const colon = name.indexOf(":", slash + 1);
  const end = colon < 0 ? name.length : colon;
  const short = digest?.replace(/^(@[a-z0-9]+:[0-9a-f]{12})[0-9a-f]+$/, "$1…") ?? "";
  return [name.slice(0, slash + 1), name.slice(slash + 1, end), name.slice(end) + short];
}

/** All of it stands in the title. */
export function ImageName({ image }) {
  const [folders, name, tag] = partsOf(image);
  return html`<code class="image-name" title=${image}><span class="stem">${folders && "…/"}${name}</span><span class="tag-part">${tag}</span></code>`;
}

export const OLDER = "older image or settings";
export const OLDER_LONG =
  "Made of an older image, or with other settings, than new machines. It is replaced once it is free and a new machine has come up.";

/** `template` is that of the pool; null while it is not known. */
export const isOlder = (machine, template) => Boolean(template && machine.template && machine.template !== template);
