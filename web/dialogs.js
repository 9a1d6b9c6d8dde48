// dialogs.js: the two things that interrupt a person: a question of a job, and "really cancel?".
import { api, recipeOnce } from "./api.js";
import { el, fill, toast } from "./dom.js";
import { modeWord, portName, stepIndex } from "./format.js";
import { live, putJob } from "./live.js";

export function problemBox(problem) {
  return el("div", { class: "problem", role: "alert" }, el("strong", null, problem.message),
    problem.advice ? el("p", null, problem.advice) : null);
}

function open(title, build) {
  const dialog = el("dialog", { "aria-labelledby": "dialog-title" });
  const errors = el("div");
  const close = () => dialog.close();
  // Runs a request with the buttons off; a problem is shown and the dialog stays.
  const attempt = async (work) => {
    const buttons = dialog.querySelectorAll("button");
    buttons.forEach((b) => (b.disabled = true));
    fill(errors);
    try {
      await work();
      close();
    } catch (problem) {
      fill(errors, problemBox(problem));
    } finally {
      buttons.forEach((b) => (b.disabled = false));
    }
  };
  const content = build(attempt, close);
  dialog.append(el("h2", { id: "dialog-title" }, title), content, errors);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
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
      el("label", null, el("span", null, "Label, as written on the bench"), label),
      el("label", { class: "check" }, enabled, el("span", null, "Jobs may run here")),
      el("label", { class: "check" }, takesWork, el("span", null, "Also jobs that name no port: the next phone here is looked at")),
      el("div", { class: "actions" }, el("button", { class: "primary" }, "Save"),
        el("a", { class: "button", href: `#/new?${new URLSearchParams({ port: port.id })}`, onclick: close }, "New job here"),
        el("button", { type: "button", onclick: close }, "Back")));
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      const change = {};
      const text = label.value.trim();
      if (text && text !== port.label) change.label = text;
      if (enabled.checked !== (port.enabled !== false)) change.enabled = enabled.checked;
      if (takesWork.checked !== (port.takes_work === true)) change.takes_work = takesWork.checked;
      if (Object.keys(change).length) attempt(() => api.portChange(port.id, change));
      else close();
    });
    return form;
  });
}

export async function answerDialog(job) {
  const prompt = job.prompt;
  const recipe = await recipeOnce(job.recipe);
  const step = recipe?.steps?.[stepIndex(recipe.steps, prompt.step ?? job.step)];
  const wantsNumbers = step?.do === "accept";
  const send = (answer, form) => async () => {
    const body = { prompt_id: prompt.id, answer };
    if (answer === "ok" && wantsNumbers) typed.set(job.id, (body.values = valuesOf(form)));
    await putJob(job.id, api.jobAnswer(job.id, body));
    toast(`Job ${job.id}: answered.`);
  };
  open(`${prompt.text} (${where(job)})`, (attempt, close) => {
    const form = el("form", { method: "dialog", class: "fields" },
      el("p", { class: "todo" }, prompt.todo),
      wantsNumbers ? numberFields(job) : null,
      el("div", { class: "actions" },
        el("button", { class: "primary" }, wantsNumbers ? "These are the phone's numbers" : "Done"),
        el("button", { type: "button", onclick: () => attempt(send("retry")) }, "Try the step again"),
        el("button", { type: "button", class: "danger", onclick: () => attempt(send("abort")) }, "Give up"),
        el("button", { type: "button", onclick: close }, "Back")));
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      attempt(send("ok", form));
    });
    return form;
  });
}
