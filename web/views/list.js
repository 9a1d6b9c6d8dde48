// views/list.js: what all lists share: one page at a time, an empty state, a problem shown where it happened.
import { problemBox } from "../dialogs.js";
import { el, fill } from "../dom.js";

// columns: [[title, item => text or Node], ...]; empty: nodes that say what to do next.
export function listView(main, { title, load, columns, empty, before }) {
  const body = el("tbody");
  const table = el("table", null, el("thead", null, el("tr", null, columns.map(([name]) => el("th", { scope: "col" }, name)))), body);
  const more = el("button", { type: "button", hidden: true }, "Show more");
  const place = el("div", { class: "table" });
  let cursor = null, ended = false;

  const row = (item) => el("tr", null, columns.map(([name, value]) => el("td", { "data-title": name }, value(item))));
  const next = async (fresh) => {
    more.disabled = true;
    try {
      const page = await load({ limit: 50, after: fresh ? undefined : cursor });
      if (ended) return;
      if (fresh) body.replaceChildren();
      body.append(...page.items.map(row));
      cursor = page.next;
      more.hidden = !cursor;
      if (body.children.length) fill(place, table, more);
      else fill(place, el("div", { class: "empty" }, empty));
    } catch (problem) {
      if (!ended) fill(place, problemBox(problem));
    } finally {
      more.disabled = false;
    }
  };
  more.addEventListener("click", () => next(false));
  fill(place, el("p", { class: "note" }, "Loading …"));
  main.append(el("h1", null, title), before ?? "", place);
  next(true);
  return { reload: () => next(true), end: () => (ended = true) };
}

// Name and value pairs; empty values are left out.
export function facts(pairs) {
  const list = el("dl", { class: "facts" });
  for (const [name, value] of pairs)
    if (value !== null && value !== undefined && value !== "") list.append(el("div", null, el("dt", null, name), el("dd", null, value)));
  return list;
}

// Fills `main` from one request; a problem takes its place.
export function detailView(main, load, build) {
  let ended = false;
  fill(main, el("p", { class: "note" }, "Loading …"));
  load().then((item) => ended || fill(main, build(item)), (problem) => ended || fill(main, problemBox(problem)));
  return () => (ended = true);
}
