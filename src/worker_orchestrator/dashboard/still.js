// Draws a part again only where something that it was given has changed.
//
// To keep an element in useMemo would do that as well, but it holds on to the whole page as it was when it was made; and that page
// to one before. In a list that goes on, nothing would ever be let go.

import { html } from "./html.js";

function isOther(props) {
  const before = this.props;
  return Object.keys({ ...props, ...before }).some((name) => props[name] !== before[name]);
}

export function still(Part) {
  return function Still(props) {
    this.shouldComponentUpdate = isOther;
    return html`<${Part} ...${props} />`;
  };
}
