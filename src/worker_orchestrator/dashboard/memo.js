// Draws a part again only if one of its properties has changed.
//
// An element in useMemo would do that as well, but it keeps the whole page in memory as it was when the element was made, and that
// page keeps the one before. In a list that grows on and on, no memory would ever be freed.

import { html } from "./html.js";

function isOther(props) {
  const before = this.props;
  return Object.keys({ ...props, ...before }).some((name) => props[name] !== before[name]);
}

export function memo(Part) {
  return function Memoized(props) {
    this.shouldComponentUpdate = isOther;
    return html`<${Part} ...${props} />`;
  };
}
