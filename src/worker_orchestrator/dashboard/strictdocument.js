// A document for libraries that style what they make in ways a strict Content-Security-Policy forbids: with <style> elements and
// with style attributes. The same rules go another way here, as adopted sheets and through the CSSOM, which it allows.

/** The page's document to whoever asks it for anything but an element. */
export function strictDocument() {
  const own = { createElement: strictly };
  return new Proxy(document, {
    get(target, name) {
      if (Object.hasOwn(own, name)) return own[name];
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
    set: (target, name, value) => Reflect.set(target, name, value, target),
  });
}

/** Calls `act`, which may ask the page's own document for elements: xterm.js 6 does for one, whatever document it was given. */
export function withStrictDocument(act) {
  document.createElement = strictly;
  try {
    act();
  } finally {
    delete document.createElement;
  }
}

const create = (name, options) => Document.prototype.createElement.call(document, name, options);

function strictly(name, options) {
  if (name === "style") return sheetElement();
  const element = create(name, options);
  element.setAttribute = setAttribute;
  return element;
}

function setAttribute(name, value) {
  if (name === "style") this.style.cssText = value;
  else Element.prototype.setAttribute.call(this, name, value);
}

/** Stands where a <style> element would; its text is a sheet for as long as it stands there. */
function sheetElement() {
  const element = create("meta");
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets.push(sheet);
  Object.defineProperty(element, "textContent", { set: (rules) => sheet.replaceSync(rules) });
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== sheet);
    Element.prototype.remove.call(element);
  };
  return element;
}
