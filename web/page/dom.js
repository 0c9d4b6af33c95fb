/**
 * The element that the page's markup promises.
 * @template {Element} T
 * @param {string} selector
 * @param {{ new (): T }} type
 * @param {ParentNode} [root]
 * @returns {T}
 */
export function find(selector, type, root = document) {
  const element = root.querySelector(selector);
  if (!(element instanceof type)) throw new Error(`the page has no ${selector}`);
  return element;
}

/**
 * A fresh copy of a template's only element.
 * @template {Element} T
 * @param {string} selector
 * @param {{ new (): T }} type
 * @returns {T}
 */
export function copyOf(selector, type) {
  const copy = find(selector, HTMLTemplateElement).content.firstElementChild?.cloneNode(true);
  if (!(copy instanceof type)) throw new Error(`the template ${selector} is not as expected`);
  return copy;
}

/**
 * Runs a CSS animation anew, also when its last run is not over.
 * @param {Element} element
 * @param {string} className
 */
export function restart(element, className) {
  element.classList.remove(className);
  void element.getBoundingClientRect(); // so that the browser sees the class go
  element.classList.add(className);
}
