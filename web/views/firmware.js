import { api } from "../api.js";
import { problemBox } from "../dialogs.js";
import { el, fill, toast } from "../dom.js";
import { bytes, when } from "../format.js";
import { detailView, facts, listView } from "./list.js";

const problemText = (p) => (typeof p === "string" ? p : p.message ?? p.text ?? JSON.stringify(p));

function addForm(done) {
  const path = el("input", { name: "path", required: true, maxlength: 1024, placeholder: "/srv/firmware/PDA-290H" });
  const errors = el("div");
  const button = el("button", { class: "primary" }, "Add");
  const form = el("form", { class: "fields inline" },
    el("label", null, el("span", null, "Folder of the unpacked package on the station"), path), button, errors);
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    button.disabled = true;
    fill(errors, el("p", { class: "note" }, "Reading and checking the package. This may take minutes …"));
    try {
      const fw = await api.firmwareAdd({ path: path.value.trim() });
      toast(`Firmware ${fw.name ?? fw.id} was added.`, { href: `#/firmware/${fw.id}`, text: "Show it" });
      fill(errors);
      form.reset();
      done();
    } catch (problem) {
      fill(errors, problemBox(problem));
    } finally {
      button.disabled = false;
    }
  });
  return el("details", { open: true }, el("summary", null, "Add firmware"), form);
}

export function firmwareView(main) {
  const list = listView(main, {
    title: "Firmware",
    load: api.firmware,
    before: addForm(() => list.reload()),
    columns: [
      ["Firmware", (f) => el("a", { href: `#/firmware/${f.id}` }, f.name ?? `firmware ${f.id}`)],
      ["Platform", (f) => f.platform ?? ""],
      ["Project", (f) => f.project ?? ""],
      ["Version", (f) => f.version ?? ""],
      ["Problems", (f) => (f.problems?.length ? String(f.problems.length) : "none")],
      ["Added", (f) => when(f.created_at)],
    ],
    empty: [el("h2", null, "No firmware yet"), el("p", null, "Name the folder of an unpacked vendor package above: scatter file, images, download agent file.")],
  });
  return list.end;
}

export function firmwareOneView(main, id) {
  return detailView(main, () => api.firmwareOne(id), (f) => [
    el("h1", null, f.name ?? `Firmware ${f.id}`),
    (f.problems ?? []).map((p) => el("div", { class: "problem" }, problemText(p))),
    facts([["Platform", f.platform], ["Project", f.project], ["Version", f.version], ["Folder", f.path], ["Added", when(f.created_at)]]),
    el("h2", null, "Files"),
    el("div", { class: "table" }, el("table", null,
      el("thead", null, el("tr", null, ["Name", "Size", "SHA-256"].map((t) => el("th", { scope: "col" }, t)))),
      el("tbody", null, (f.files ?? []).map((file) => el("tr", null,
        el("td", { "data-title": "Name" }, file.name),
        el("td", { "data-title": "Size" }, bytes(file.size)),
        el("td", { "data-title": "SHA-256" }, el("code", { title: file.sha256 }, `${(file.sha256 ?? "").slice(0, 16)}…`))))))),
  ]);
}
