// dialogs.js: what interrupts a person: a question of a job, "really?", a port's settings, labels along the rack.
import { api } from "./api.js";
import { el, fill, setText, toast } from "./dom.js";
import { modeWord, portName } from "./format.js";
import { live, putJob } from "./live.js";

export function problemBox(problem) {
  return el("div", { class: "problem", role: "alert" }, el("strong", null, problem.message),
    problem.advice ? el("p", null, problem.advice) : null);
}

function open(title, build) {
  const titleId = `dialog-title-${document.querySelectorAll("dialog").length}`;
  const dialog = el("dialog", { "aria-labelledby": titleId });
  const errors = el("div");
  const close = () => dialog.close();
  // Runs a request with the buttons off; a problem is shown and the dialog stays, as it does with `stay`.
  const attempt = async (work, { stay = false } = {}) => {
    const buttons = dialog.querySelectorAll("button");
    buttons.forEach((b) => (b.disabled = true));
    fill(errors);
    try {
      await work();
      if (!stay) close();
    } catch (problem) {
      fill(errors, problemBox(problem));
    } finally {
      buttons.forEach((b) => (b.disabled = false));
    }
  };
  const content = build(attempt, close);
  dialog.append(el("h2", { id: titleId }, title), content, errors);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

const where = (job) => {
  const port = live.ports.get(job.port);
  return port ? `port ${portName(port)}` : job.port ? `port ${job.port}` : "no port yet";
};

export function cancelDialog(job) {
  open(`Cancel job ${job.id}?`, (attempt, close) =>
    el("div", null,
      el("p", null, `The job on ${where(job)}${job.serial ? ` for ${job.serial}` : ""} stops after the step it is in.`),
      el("p", null, "The phone may be left unable to start. Run a new job for it before it leaves the bench."),
      el("div", { class: "actions" },
        el("button", { type: "button", autofocus: true, onclick: close }, "Keep the job running"),
        el("button", {
          type: "button", class: "danger",
          onclick: () => attempt(async () => {
            await putJob(job.id, api.jobVerb(job.id, "cancel"));
            toast(`Job ${job.id} will stop after its step.`);
          }),
        }, "Cancel the job"))));
}

// The phone of an interrupted job was plugged in elsewhere: a person says where.
export function moveDialog(job) {
  const ports = [...live.ports.values()].filter((p) => p.id !== job.port && !p.job_id && p.enabled !== false)
    .sort((a, b) => portName(a).localeCompare(portName(b), undefined, { numeric: true }));
  const port = el("select", { name: "port", required: true, autofocus: true },
    ports.map((p) => el("option", { value: p.id }, `${portName(p)} (${modeWord(p.mode)})`)));
  open(`Continue job ${job.id} on another port`, (attempt, close) => {
    const form = el("form", { method: "dialog", class: "fields" },
      el("p", null, `The phone${job.serial ? ` ${job.serial}` : ""} must be on that port now: put only this phone there. Another one is refused before anything is written to it.`),
      ports.length ? el("label", null, el("span", null, "Port"), port) : el("p", { class: "note" }, "No other port is free."),
      el("div", { class: "actions" },
        ports.length ? el("button", { class: "primary" }, "The phone is there: continue") : null,
        el("button", { type: "button", onclick: close }, "Back")));
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      attempt(async () => {
        await putJob(job.id, api.jobVerb(job.id, "resume", { port: port.value }));
        toast(`Job ${job.id} goes on there.`);
      });
    });
    return form;
  });
}

// What was typed for a job: when one number was wrong, the others need not be typed again.
const typed = new Map();

function field(label, name, hint, props) {
  return el("label", null, el("span", null, label),
    el("input", { name, autocomplete: "off", spellcheck: "false", autocapitalize: "characters", ...props }),
    hint ? el("small", null, hint) : null);
}

// Acceptance wants the numbers as the phone shows them; they are compared by the station, not here.
function numberFields(job) {
  const last = typed.get(job.id) ?? { imeis: [] };
  return [
    field("Serial (Settings, About phone)", "serial", null, { required: true, autofocus: true, maxlength: 64, value: last.serial }),
    field("IMEI 1 (dial *#06#)", "imei1", null, { required: true, inputmode: "numeric", maxlength: 15, value: last.imeis[0] }),
    field("IMEI 2", "imei2", "Leave empty on a phone with one SIM.", { inputmode: "numeric", maxlength: 15, value: last.imeis[1] }),
    field("Wi-Fi MAC address", "wlan_mac", null, { placeholder: "a4:50:46:01:02:03", maxlength: 17, value: last.wlan_mac }),
    field("Bluetooth MAC address", "bt_mac", null, { placeholder: "a4:50:46:01:02:04", maxlength: 17, value: last.bt_mac }),
  ];
}

function valuesOf(form) {
  const get = (name) => form.elements[name]?.value.trim() ?? "";
  const values = { serial: get("serial"), imeis: [get("imei1"), get("imei2")].filter(Boolean) };
  for (const name of ["wlan_mac", "bt_mac"]) if (get(name)) values[name] = get(name);
  return values;
}

// What a port is called, and whether it takes work.
export function portDialog(port) {
  const label = el("input", { name: "label", maxlength: 32, autocomplete: "off", autofocus: true, value: port.label ?? "" });
  const takesWork = el("input", { name: "takes_work", type: "checkbox", checked: port.takes_work === true });
  const enabled = el("input", { name: "enabled", type: "checkbox", checked: port.enabled !== false });
  open(`Port ${portName(port)}`, (attempt, close) => {
    const form = el("form", { method: "dialog", class: "fields" },
      el("p", { class: "note" }, el("code", null, port.id), ` · ${modeWord(port.mode)}`),
      el("label", null, el("span", null, "Label, as written on the bench; empty: none"), label),
      el("label", { class: "check" }, enabled, el("span", null, "Jobs may run here")),
      el("label", { class: "check" }, takesWork, el("span", null, "Also jobs that name no port: the next phone here is looked at")),
      el("div", { class: "actions" }, el("button", { class: "primary" }, "Save"),
        el("a", { class: "button", href: `#/new?${new URLSearchParams({ port: port.id })}`, onclick: close }, "New job here"),
        el("button", { type: "button", onclick: () => attempt(calibrateDialog) }, "Label all ports"),
        el("button", { type: "button", onclick: close }, "Back")));
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      const change = {};
      const text = label.value.trim();
      if (text !== (port.label ?? "")) change.label = text;
      if (enabled.checked !== (port.enabled !== false)) change.enabled = enabled.checked;
      if (takesWork.checked !== (port.takes_work === true)) change.takes_work = takesWork.checked;
      if (Object.keys(change).length) attempt(() => api.portChange(port.id, change));
      else close();
    });
    return form;
  });
}

const LOOK_EVERY_MS = 300;

// "Plug one phone along the rack, press OK at each": the station says which port got the phone, a person what is
// written there. Ends at the station when the dialog is closed; no job begins meanwhile.
export async function calibrateDialog() {
  let state = await api.calibrationBegin();
  let again = null, last = null; // a port whose label is put right; the one that was labelled last
  let turn = 0, timer = 0; // a look that was asked before the latest label is old
  const what = el("p", { class: "todo", role: "status" });
  const label = el("input", { name: "label", maxlength: 32, autocomplete: "off", required: true });
  const ok = el("button", { class: "primary" }, "OK");
  const undo = el("button", { type: "button" }, "Correct the last label");
  const labelled = el("ul", { class: "labelled", "aria-label": "Labelled" });
  let asked = null;
  const draw = () => {
    const port = again ?? state.port;
    const ended = state.state === "off" && !again;
    setText(what, port ? `${again ? "Once more: port" : "The phone is on port"} ${port}. What is written there?`
      : ended ? "The station has ended this. Close, and begin again." : "Plug the phone into the next socket. Nothing is said to it.");
    label.disabled = ok.disabled = !port;
    undo.disabled = !last || Boolean(again);
    if (port === asked) return;
    asked = port;
    label.value = (again ? live.ports.get(again)?.label : port && state.label) ?? "";
    if (port) label.focus();
  };
  const look = async () => {
    const mine = ++turn;
    const seen = await api.calibration().catch(() => state); // the header tells of a lost station
    if (mine !== turn) return;
    state = seen;
    draw();
    timer = setTimeout(look, LOOK_EVERY_MS);
  };
  const send = async () => {
    const text = label.value.trim();
    const port = again ? await api.portChange(again, { label: text }) : await api.calibrationLabel(text);
    if (again) labelled.lastChild.remove();
    labelled.append(el("li", null, `${port.label}: ${port.id}`));
    last = port.id;
    if (!again) state = { state: "waiting", port: null, label: null };
    again = null;
  };
  const dialog = open("Label the ports", (attempt, close) => {
    const form = el("form", { method: "dialog", class: "fields" }, what,
      el("label", null, el("span", null, "Label, as written on the bench"), label), labelled,
      el("div", { class: "actions" }, ok, undo, el("button", { type: "button", onclick: close }, "End")));
    undo.addEventListener("click", () => ((again = last), draw()));
    form.addEventListener("submit", async (e) => {
      e.preventDefault();
      clearTimeout(timer);
      turn++;
      await attempt(send, { stay: true });
      draw();
      if (dialog.open) look();
    });
    return form;
  });
  dialog.addEventListener("close", () => {
    clearTimeout(timer);
    turn++;
    api.calibrationEnd().catch(() => undefined); // ends by itself after ten minutes, too
  });
  draw();
  look();
}

function giveUpDialog(job, giveUp) {
  open(`Give up job ${job.id}?`, (attempt, close) =>
    el("div", null,
      el("p", null, `The job on ${where(job)}${job.serial ? ` for ${job.serial}` : ""} ends as failed: the phone's numbers are not those of its label.`),
      el("p", null, "What was written stays in the phone. Keep it at the bench."),
      el("div", { class: "actions" },
        el("button", { type: "button", autofocus: true, onclick: close }, "Keep the job"),
        el("button", { type: "button", class: "danger", onclick: () => attempt(giveUp) }, "End it as failed"))));
}

export function answerDialog(job) {
  const prompt = job.prompt;
  const wantsNumbers = prompt.wants !== "confirmation";
  const send = (answer, form) => async () => {
    const body = { prompt_id: prompt.id, answer };
    if (answer === "ok" && wantsNumbers) typed.set(job.id, (body.values = valuesOf(form)));
    await putJob(job.id, api.jobAnswer(job.id, body));
    toast(`Job ${job.id}: answered.`);
  };
  const title = wantsNumbers ? `${prompt.text} (${where(job)})` : prompt.text;
  open(title, (attempt, close) => {
    const abort = send("abort");
    const form = el("form", { method: "dialog", class: "fields" },
      el("p", { class: "todo" }, prompt.todo),
      wantsNumbers ? numberFields(job) : null,
      el("div", { class: "actions" },
        el("button", { class: "primary" }, wantsNumbers ? "These are the phone's numbers" : "OK"),
        wantsNumbers
          ? el("button", { type: "button", class: "danger", onclick: () => giveUpDialog(job, () => abort().then(close)) }, "They are not: give up")
          : el("button", { type: "button", class: "danger", onclick: () => attempt(abort) }, "Abort: another phone"),
        el("button", { type: "button", onclick: close }, "Back")));
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      attempt(send("ok", form));
    });
    return form;
  });
}
