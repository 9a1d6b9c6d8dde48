// dom.js: builds elements from text. Phones, files and people name things; nothing of that is ever parsed
// as HTML, so there is no innerHTML here or anywhere else.

// el("p", {class: "note", onclick: fn, hidden: true}, "text", child, [children]); null and false are left out.
export function el(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
}

export function fill(node, ...children) {
  node.replaceChildren();
  append(node, children);
  return node;
}

// Writes only what changed: a screen reader and the layout are disturbed by nothing else.
export function setText(node, text) {
  const value = text ?? "";
  if (node.textContent !== value) node.textContent = value;
}

export function setAttr(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, String(value));
  }
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

// Symbols are drawn, not taken from a font: they look the same on every screen.
const SHAPES = {
  run: "M6 4l14 8-14 8z",
  hand: "M12 2a2 2 0 0 1 2 2v6h1V5a2 2 0 0 1 4 0v10a7 7 0 0 1-7 7h-1a7 7 0 0 1-6-3.3L2.3 13.600a2 2 0 0 1 3.300-2.200L7 13V6a2 2 0 0 1 3 0V4a2 2 0 0 1 2-2z",
  done: "M9.500 19.500L2.500 12.500l2.800-2.800 4.200 4.200L18.700 4.700l2.800 2.800z",
  fail: "M5 2.200L12 9.200l7-7L21.800 5l-7 7 7 7-2.800 2.800-7-7-7 7L2.200 19l7-7-7-7z",
  warn: "M12 2l11 20H1zM10.800 9v6.500h2.400V9zm0 8v2.400h2.400V17z",
  idle: "M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18zm0 3a6 6 0 1 0 0 12 6 6 0 0 0 0-12z",
  phone: "M7 2h10a2 2 0 0 1 2 2v16a2 2 0 0 1-2 2H7a2 2 0 0 1-2-2V4a2 2 0 0 1 2-2zm1 3v12h8V5zm3 13.200v1.600h2v-1.600z",
  wait: "M5 2h14v4l-5 6 5 6v4H5v-4l5-6-5-6zm4 3.500L12 9.500l3-4zM9 19h6l-3-4z",
  pause: "M5 3h5v18H5zm9 0h5v18h-5z",
  off: "M12 2a10 10 0 1 1 0 20 10 10 0 0 1 0-20zM6.500 10.500v3h11v-3z",
};

export function icon(name) {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(ns, "path");
  path.setAttribute("d", SHAPES[name] ?? SHAPES.idle);
  path.setAttribute("fill-rule", "evenodd");
  svg.append(path);
  svg.dataset.name = name;
  return svg;
}

export function setIcon(node, name) {
  if (node.dataset.name === name) return node;
  const fresh = icon(name);
  node.replaceWith(fresh);
  return fresh;
}

export function toast(message, link) {
  const node = el("p", { class: "toast" }, message, link ? [" ", el("a", { href: link.href }, link.text)] : null);
  document.getElementById("toasts").append(node);
  setTimeout(() => node.remove(), 8000);
}
