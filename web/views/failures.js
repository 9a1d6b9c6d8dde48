// views/failures.js: what a person sees at a phone, looked up in the station's failure catalogue.
import { api } from "../api.js";
import { el, setText } from "../dom.js";
import { listView } from "./list.js";

const THEN = { retry: "Try again", fix: "Put it right, then again", stop: "Stop: somebody has to decide" };

// All words, small or capital; an id is meant as a whole: E1 is not E10. As `flashrack failures` does it.
function hasWords(failure, words) {
  const texts = [failure.code, failure.cause, failure.advice].map((text) => text.toLowerCase());
  return words.every((word) => failure.id.toLowerCase() === word || texts.some((text) => text.includes(word)));
}

// First what no program sees: of the rest a job tells by itself.
const ordered = ({ items }) => [...items.filter((f) => f.seen_by === "person"), ...items.filter((f) => f.seen_by !== "person")];

export function failuresView(main) {
  const input = el("input", { type: "search", name: "words", maxlength: 200, autocomplete: "off", placeholder: "nvram warning" });
  const count = el("p", { class: "note", role: "status" });
  let all = null; // it does not change while the station runs
  const load = async () => {
    all ??= ordered(await api.failures());
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const items = all.filter((failure) => hasWords(failure, words));
    setText(count, words.length ? `${items.length} of ${all.length}` : `${all.length} entries; why a job failed stands on its page`);
    return { items, next: null };
  };
  const form = el("form", { class: "fields", role: "search" },
    el("label", null, el("span", null, "What do you see? Words of it, or an id"), input), count);
  const list = listView(main, {
    title: "What is wrong with the phone?",
    load,
    before: form,
    columns: [
      ["What it is", (f) => f.cause],
      ["What to do", (f) => f.advice],
      ["Then", (f) => THEN[f.class] ?? f.class],
      ["Id", (f) => `${f.id} ${f.code}`],
    ],
    empty: [el("h2", null, "Nothing has all of these words"), el("p", null, "Take fewer words, or others. A job that failed tells what to do about it:"),
      el("a", { class: "button", href: "#/jobs" }, "Jobs")],
  });
  form.addEventListener("submit", (e) => e.preventDefault());
  input.addEventListener("input", list.reload);
  input.focus();
  return list.end;
}
