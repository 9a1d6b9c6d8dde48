import { api } from "../api.js";
import { problemBox } from "../dialogs.js";
import { el, fill, icon, toast } from "../dom.js";
import { bytes, when } from "../format.js";
import { detailView, facts, listView } from "./list.js";

const ORIGINS = { station: "taken by this station", import: "imported", donor: "donor" };
const PLAUSIBLE = { yes: ["plausible", "done"], no: ["not plausible", "fail"], unknown: ["not known", "idle"] };

function importForm(done) {
  const path = el("input", { name: "path", required: true, maxlength: 1024, placeholder: "/srv/dumps/PDAGAD0123456789.bin" });
  const serial = el("input", { name: "serial", required: true, maxlength: 64, autocapitalize: "characters" });
  const errors = el("div");
  const button = el("button", { class: "primary" }, "Import");
  const form = el("form", { class: "fields inline" },
    el("label", null, el("span", null, "Dump or folder of images on the station"), path),
    el("label", null, el("span", null, "Serial on the phone's label"), serial), button, errors);
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    button.disabled = true;
    fill(errors, el("p", { class: "note" }, "Reading and checking the dump. This may take minutes …"));
    try {
      const backup = await api.backupImport({ path: path.value.trim(), serial: serial.value.trim() });
      toast(`Backup ${backup.id} was imported.`, { href: `#/backups/${backup.id}`, text: "Show it" });
      fill(errors);
      form.reset();
      done();
    } catch (problem) {
      fill(errors, problemBox(problem));
    } finally {
      button.disabled = false;
    }
  });
  return el("details", null, el("summary", null, "Import a backup"), form);
}

// What retention does with it, or did; undefined: it decides by itself.
const retention = (b) => (b.pruned_at ? `images deleted ${when(b.pruned_at)}` : b.pinned ? "pinned" : undefined);

export function backupsView(main) {
  const list = listView(main, {
    title: "Backups",
    load: api.backups,
    before: importForm(() => list.reload()),
    columns: [
      ["Backup", (b) => el("a", { href: `#/backups/${b.id}` }, `backup ${b.id}`)],
      ["Serial", (b) => b.serial ?? ""],
      ["Phone", (b) => (b.phone_id ? el("a", { href: `#/phones/${b.phone_id}` }, `phone ${b.phone_id}`) : "not bound yet")],
      ["Origin", (b) => ORIGINS[b.origin] ?? b.origin],
      ["Verdict", (b) => b.verdict ?? ""],
      ["Created", (b) => when(b.created_at)],
      ["Kept", (b) => retention(b) ?? ""],
      ["Verified", (b) => (b.damage ? el("span", { class: "tag" }, icon("fail"), "damaged") : when(b.verified_at))],
    ],
    empty: [el("h2", null, "No backup yet"),
      el("p", null, "Every job takes one before it writes. A read-back dump from before the loss can be imported above.")],
  });
  return list.end;
}

function plausibleTag(p) {
  const [word, symbol] = PLAUSIBLE[p.plausible] ?? [String(p.plausible), "idle"];
  return el("span", { class: "tag" }, icon(symbol), p.reason ? `${word}: ${p.reason}` : word);
}

export function backupView(main, id) {
  return detailView(main, () => api.backup(id), (b) => [
    el("h1", null, `Backup ${b.id}`),
    b.damage ? el("div", { class: "problem" }, el("strong", null, `This backup is damaged: ${b.damage}.`),
      el("p", null, "Do not rely on it. Import the same dump, or save the phone, once more: what is damaged is put right by it. Or restore backups.db from a copy (flashrack db backup). Then look after the station's disk.")) : [],
    facts([
      ["Serial", b.serial],
      ["Phone", b.phone_id ? el("a", { href: `#/phones/${b.phone_id}` }, `phone ${b.phone_id}`) : "not bound yet"],
      ["Job", b.job_id ? el("a", { href: `#/jobs/${b.job_id}` }, `job ${b.job_id}`) : null],
      ["Origin", ORIGINS[b.origin] ?? b.origin],
      ["Verdict", b.verdict],
      ["Created", when(b.created_at)],
      ["Kept", retention(b)],
      ["Verified", when(b.verified_at)],
    ]),
    el("h2", null, "Partitions"),
    el("p", null, b.pruned_at ? "Retention deleted the images: nothing can be restored from this backup any more." : el("a", { href: api.exportUrl(b.id), download: `backup-${b.id}.tar` }, "Download all as a tar file, with SHA256SUMS and manifest.json")),
    el("div", { class: "table" }, el("table", null,
      el("thead", null, el("tr", null, ["Name", "Size", "SHA-256", "Contents", "Image"].map((t) => el("th", { scope: "col" }, t)))),
      el("tbody", null, (b.partitions ?? []).map((p) => el("tr", null,
        el("td", { "data-title": "Name" }, p.name),
        el("td", { "data-title": "Size" }, bytes(p.size)),
        el("td", { "data-title": "SHA-256" }, el("code", { title: p.sha256 }, `${(p.sha256 ?? "").slice(0, 16)}…`)),
        el("td", { "data-title": "Contents" }, plausibleTag(p)),
        el("td", { "data-title": "Image" }, el("a", { href: api.partitionUrl(b.id, p.name), download: `${p.name}.img` }, "Download"))))))),
  ]);
}
