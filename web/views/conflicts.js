// views/conflicts.js: contradictions between phones: both records side by side, and an admin's decision.
import { api } from "../api.js";
import { problemBox } from "../dialogs.js";
import { el, fill, icon, toast } from "../dom.js";
import { when } from "../format.js";
import { facts, listView } from "./list.js";
import { identityTag } from "./phones.js";

const stateTag = (c) => el("span", { class: "tag" }, icon(c.state === "open" ? "warn" : "done"), c.state);

export function conflictsView(main) {
  return listView(main, {
    title: "Conflicts",
    load: api.conflicts,
    columns: [
      ["Conflict", (c) => el("a", { href: `#/conflicts/${c.id}` }, `conflict ${c.id}`)],
      ["State", stateTag],
      ["What", (c) => c.text],
      ["Noticed", (c) => when(c.noticed_at)],
      ["Decision", (c) => (c.reason ? `kept ${c.kept}: ${c.reason}` : "")],
    ],
    empty: [el("h2", null, "No conflict"), el("p", null, "Every serial and IMEI is on one phone only.")],
  }).end;
}

const PHONE_ROWS = [
  ["Phone", (p) => el("a", { href: `#/phones/${p.id}` }, `phone ${p.id}`)],
  ["Serial", (p) => p.serial ?? "not known"],
  ["Identity", (p) => identityTag(p.identity)],
  ["IMEIs", (p) => p.imeis?.join(", ") || "not known"],
  ["Chip id", (p) => el("code", null, p.chip_id ?? "")],
  ["First seen", (p) => when(p.first_seen)],
  ["Last seen", (p) => when(p.last_seen)],
  ["Backups", (p) => (p.backups ?? []).map((b) => [el("a", { href: `#/backups/${b}` }, `backup ${b}`), " "])],
  ["Jobs", (p) => (p.jobs ?? []).map((j) => [el("a", { href: `#/jobs/${j}` }, `job ${j}`), " "])],
];
const BACKUP_ROWS = [
  ["Backup", (b) => el("a", { href: `#/backups/${b.id}` }, `backup ${b.id}`)],
  ["Serial", (b) => b.serial ?? "not known"],
  ["Origin", (b) => b.origin],
  ["Phone", (b) => (b.phone_id ? el("a", { href: `#/phones/${b.phone_id}` }, `phone ${b.phone_id}`) : "not bound yet")],
  ["Verdict", (b) => b.verdict ?? ""],
  ["Created", (b) => when(b.created_at)],
];

function sideBySide(title, rows, records) {
  if (!records?.length) return [];
  return [el("h2", null, title), el("div", { class: "table" }, el("table", { class: "sides" }, el("tbody", null,
    rows.map(([name, value]) => el("tr", null, el("th", { scope: "row" }, name), records.map((r) => el("td", { "data-title": name }, value(r))))))))];
}

// [value of keep, words]
function choices(c) {
  if (c.kind === "two_serials") return [[c.other_value, `${c.other_value}, as known before`], [c.value, `${c.value}, as given now`]];
  if (c.kind === "backup_twin") return c.backups.map((b) => [b, `backup ${b} is no copy`]);
  const phones = c.phones.map((p) => [p, `it belongs to phone ${p}`]);
  return c.kind === "import_claim" ? phones : [...phones, ["both", "both phones may have it"]];
}

function decisionForm(c, done) {
  const reason = el("input", { name: "reason", required: true, maxlength: 1000 });
  const keep = el("select", { name: "keep", required: true },
    el("option", { value: "" }, "choose"), choices(c).map(([value, words]) => el("option", { value }, words)));
  const errors = el("div");
  const button = el("button", { class: "primary" }, "Resolve");
  const form = el("form", { class: "fields" }, el("h2", null, "Decision of an admin"),
    el("label", null, el("span", null, "What is right, by the labels"), keep),
    el("label", null, el("span", null, "Reason; it stays on record"), reason), button, errors);
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    button.disabled = true;
    try {
      await api.conflictResolve(c.id, { reason: reason.value.trim(), keep: keep.value });
      toast(`Conflict ${c.id} is resolved.`);
      done();
    } catch (problem) {
      fill(errors, problemBox(problem));
      button.disabled = false;
    }
  });
  return form;
}

export function conflictView(main, id) {
  let ended = false;
  const load = () => api.conflict(id).then((c) => ended || fill(main,
    el("div", { class: "title" }, el("h1", null, `Conflict ${c.id}`), stateTag(c)),
    el("p", { class: "problem" }, `${c.text}.`),
    facts([
      ["Noticed", when(c.noticed_at)],
      ["By job", c.job_id ? el("a", { href: `#/jobs/${c.job_id}` }, `job ${c.job_id}`) : null],
      ["Resolved", c.resolved_at ? `${when(c.resolved_at)} by ${c.resolved_by}` : null],
      ["Kept", c.kept],
      ["Reason", c.reason],
    ]),
    sideBySide("Phones", PHONE_ROWS, c.records?.phones), sideBySide("Backups", BACKUP_ROWS, c.records?.backups),
    c.state === "open" ? decisionForm(c, load) : []), (problem) => ended || fill(main, problemBox(problem)));
  load();
  return () => (ended = true);
}
