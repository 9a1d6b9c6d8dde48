// views/order.js: the form for a new job, made for a scanner: scan, Enter, next phone. The form stays, the
// serial empties, the next free port is chosen.
import { api, orderKey } from "../api.js";
import { problemBox } from "../dialogs.js";
import { el, fill, setText, toast } from "../dom.js";
import { isOpen, nameOf, portName, when } from "../format.js";
import { live, onChange, takesWork } from "../live.js";

const option = (value, text) => el("option", { value }, text);

function busyPorts() {
  const busy = new Set();
  for (const job of live.jobs.values()) if (isOpen(job) && job.port) busy.add(job.port);
  return busy;
}

// Keeps what was chosen while ports come and go.
function fillPorts(select, wanted) {
  const busy = busyPorts();
  const chosen = wanted ?? select.value;
  const ports = [...live.ports.values()].filter((p) => p.enabled !== false)
    .sort((a, b) => portName(a).localeCompare(portName(b), undefined, { numeric: true }));
  const items = ports.map((p) => [p.id, `${portName(p)}${busy.has(p.id) ? " (has a job)" : ""}`]);
  const key = JSON.stringify(items);
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    fill(select, option("", "the next phone, on a port that takes work"), items.map(([v, t]) => option(v, t)));
  }
  select.value = ports.some((p) => p.id === chosen) ? chosen : "";
  return ports.find((p) => !busy.has(p.id))?.id ?? "";
}

const DEFAULT_RECIPE = "x5-restore";

// What a recipe does not use is not asked for, and not sent: the station would refuse it.
function fit(form, recipe) {
  form.serial.required = recipe.writes;
  form.firmware.disabled = !recipe.wants_firmware;
  form.backup.disabled = !recipe.wants_backup;
  form.finish.disabled = !recipe.writes || Boolean(recipe.finish);
  if (recipe.finish) form.finish.value = recipe.finish;
}

async function choices(form) {
  const [recipes, firmware, backups] = await Promise.all([api.recipes(), api.firmware({ limit: 1000 }), api.backups({ limit: 1000 })]);
  fill(form.recipe, recipes.items.map((r) => option(r.name, r.title ? `${r.title} (${r.name})` : r.name)));
  const chosen = () => recipes.items.find((r) => r.name === form.recipe.value);
  form.recipe.addEventListener("change", () => fit(form, chosen()));
  if (recipes.items.some((r) => r.name === DEFAULT_RECIPE)) form.recipe.value = DEFAULT_RECIPE;
  if (chosen()) fit(form, chosen());
  fill(form.firmware, option("", "none"), firmware.items.map((f) => option(f.id, nameOf(f))));
  if (firmware.items.length) form.firmware.value = firmware.items[0].id;
  return backups.items;
}

// Backups of the serial first; of others none, and none whose images are gone: they would be refused.
function fillBackups(select, backups, serial) {
  const own = backups.filter((b) => b.serial && b.serial === serial && !b.pruned_at);
  const key = own.map((b) => b.id).join();
  if (select.dataset.key === key) return;
  select.dataset.key = key;
  fill(select, option("", own.length || !serial ? "chosen by the station" : "none is known for this serial"),
    own.map((b) => option(b.id, `backup ${b.id}, ${b.origin}, ${when(b.created_at)}`)));
  select.value = own[0]?.id ?? "";
}

const labelled = (text, control, hint) => el("label", null, el("span", null, text), control, hint ? el("small", null, hint) : null);
const input = (name, props) => el("input", { name, autocomplete: "off", spellcheck: "false", ...props });

function buildForm() {
  const form = {
    serial: input("serial", { required: true, maxlength: 64, class: "scan", autocapitalize: "characters", placeholder: "scan the label" }),
    port: el("select", { name: "port" }),
    portHint: el("span"),
    firmware: el("select", { name: "firmware" }),
    backup: el("select", { name: "backup" }),
    recipe: el("select", { name: "recipe" }),
    finish: el("select", { name: "finish" }, option("lk", "put the commercial bootloader back"), option("upgrade", "write the whole firmware")),
    imei1: input("imei1", { inputmode: "numeric", maxlength: 15 }),
    imei2: input("imei2", { inputmode: "numeric", maxlength: 15 }),
    owner: input("owner_ref", { maxlength: 128 }),
    errors: el("div"),
  };
  form.node = el("form", { class: "fields order" },
    labelled("Serial", form.serial, "On the phone's label or box; starts with PDA. An IMEI (15 digits) is refused."),
    labelled("Port", form.port, form.portHint),
    labelled("Firmware", form.firmware, el("a", { href: "#/firmware" }, "Add firmware")),
    labelled("Backup", form.backup, el("a", { href: "#/backups" }, "Import a backup")),
    el("details", null, el("summary", null, "More"),
      labelled("Recipe", form.recipe),
      labelled("At the end", form.finish),
      labelled("IMEI 1, from the label", form.imei1),
      labelled("IMEI 2, from the label", form.imei2),
      labelled("Owner's reference", form.owner)),
    form.errors,
    el("div", { class: "actions" }, el("button", { class: "primary" }, "Start job"), el("a", { class: "button", href: "#/" }, "Bench")));
  return form;
}

function orderOf(form) {
  const order = { recipe: form.recipe.value };
  const optional = { serial: form.serial, port: form.port, firmware: form.firmware, backup: form.backup, finish: form.finish, owner_ref: form.owner };
  for (const [name, control] of Object.entries(optional)) if (!control.disabled && control.value.trim()) order[name] = control.value.trim();
  const imeis = [form.imei1.value.trim(), form.imei2.value.trim()].filter(Boolean);
  if (imeis.length) order.imeis = imeis;
  return order;
}

export function orderView(main) {
  const given = new URLSearchParams(location.hash.split("?")[1] ?? "");
  const form = buildForm();
  let backups = [], key = orderKey(), first = true;
  const refresh = () => {
    const free = fillPorts(form.port, first ? given.get("port") ?? undefined : undefined);
    if (first && live.loaded) {
      if (!form.port.value) form.port.value = free;
      first = false;
    }
    hint();
  };
  // A job that no port takes would wait without a word.
  const hint = () => setText(form.portHint, live.loaded && !form.port.value && !takesWork()
    ? "No port takes jobs that name none: the job waits until one does. Open a port by its name on the bench and switch that on." : "");
  form.port.addEventListener("change", hint);
  fill(main, el("h1", null, "New job"), form.node);
  form.serial.value = given.get("serial") ?? "";
  form.serial.addEventListener("input", () => fillBackups(form.backup, backups, form.serial.value.trim()));
  form.node.addEventListener("input", () => (key = orderKey())); // another order, another key
  // A scanner is quicker than the lists: an order waits for them.
  const ready = choices(form).then((list) => {
    backups = list;
    for (const name of ["firmware", "finish"]) if (given.get(name)) form[name].value = given.get(name);
    fillBackups(form.backup, backups, form.serial.value.trim());
  }, (problem) => fill(form.errors, problemBox(problem)));
  form.node.addEventListener("submit", async (e) => {
    e.preventDefault();
    fill(form.errors);
    const button = form.node.querySelector("button");
    button.disabled = true;
    try {
      await ready;
      const job = await api.jobAdd(orderOf(form), key);
      const port = live.ports.get(job.port);
      toast(`Job ${job.id} for ${job.serial ?? "the next phone"}${port ? ` on port ${portName(port)}` : ""} is queued.`, { href: `#/jobs/${job.id}`, text: "Show it" });
      live.jobs.set(job.id, job);
      for (const name of ["serial", "imei1", "imei2", "owner"]) form[name].value = "";
      key = orderKey();
      form.port.value = fillPorts(form.port, form.port.value);
      fillBackups(form.backup, backups, "");
    } catch (problem) {
      fill(form.errors, problemBox(problem));
    } finally {
      button.disabled = false;
      form.serial.focus();
      form.serial.select();
    }
  });
  const stop = onChange(refresh);
  refresh();
  form.serial.focus();
  return stop;
}
