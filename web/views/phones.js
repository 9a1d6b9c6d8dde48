import { api } from "../api.js";
import { el, icon } from "../dom.js";
import { when } from "../format.js";
import { detailView, facts, listView } from "./list.js";

const IDENTITIES = {
  own: ["own identity", "done"],
  donor: ["another phone's identity", "warn"],
  lost: ["identity lost", "fail"],
  unknown: ["identity not known", "idle"],
  conflict: ["conflict", "warn"],
};

export function identityTag(identity) {
  const [word, symbol] = IDENTITIES[identity] ?? [identity, "idle"];
  return el("span", { class: "tag" }, icon(symbol), word);
}

const link = (p) => el("a", { href: `#/phones/${p.id}` }, p.serial ?? `phone ${p.id}`);

export function phonesView(main) {
  return listView(main, {
    title: "Phones",
    load: api.phones,
    columns: [
      ["Phone", link],
      ["Identity", (p) => identityTag(p.identity)],
      ["IMEIs", (p) => p.imeis?.join(", ") ?? ""],
      ["Chip id", (p) => el("code", null, p.chip_id ?? "")],
      ["First seen", (p) => when(p.first_seen)],
      ["Last seen", (p) => when(p.last_seen)],
    ],
    empty: [el("h2", null, "No phone is known yet"),
      el("p", null, "A phone is known once a job has read its chip id."),
      el("a", { class: "button primary", href: "#/new" }, "New job")],
  }).end;
}

const idOf = (x) => (typeof x === "object" && x !== null ? x.id : x);
const links = (path, word, list) => (list ?? []).map((x) => [el("a", { href: `#/${path}/${idOf(x)}` }, `${word} ${idOf(x)}`), " "]);

export function phoneView(main, id) {
  return detailView(main, () => api.phone(id), (p) => [
    el("div", { class: "title" }, el("h1", null, p.serial ?? `Phone ${p.id}`), identityTag(p.identity)),
    (p.conflicts ?? []).map((c) => el("div", { class: "problem" }, el("strong", null, `Conflict ${c.id}: ${c.text}.`),
      el("p", null, "No job writes to this phone until it is resolved. ", el("a", { href: `#/conflicts/${c.id}` }, "Compare and decide")))),
    p.damaged_backups?.length ? el("div", { class: "problem" }, el("strong", null, "A stored backup of this phone is damaged: "),
      links("backups", "backup", p.damaged_backups)) : [],
    facts([
      ["Chip id", el("code", null, p.chip_id ?? "")],
      ["SoC id", p.soc_id ? el("code", null, p.soc_id) : null],
      ["IMEIs", p.imeis?.join(", ")],
      ["Wi-Fi MAC address", p.wlan_mac],
      ["Bluetooth MAC address", p.bt_mac],
      ["First seen", when(p.first_seen)],
      ["Last seen", when(p.last_seen)],
      ["Backups", p.backups?.length ? links("backups", "backup", p.backups) : "none"],
      ["Jobs", p.jobs?.length ? links("jobs", "job", p.jobs) : "none"],
    ]),
  ]);
}
