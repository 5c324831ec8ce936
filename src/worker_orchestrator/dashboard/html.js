// Preact with htm, under one name: a component is a function that returns html`…`. Every value in it is escaped by Preact.

import htm from "./vendor/htm.js";
import { h } from "./vendor/preact.js";

export { createContext, render } from "./vendor/preact.js";
export { useCallback, useContext, useEffect, useId, useLayoutEffect, useMemo, useReducer, useRef, useState } from "./vendor/hooks.js";

export const html = htm.bind(h);
