// page.test.mjs: the dashboard in headless Chromium, as a person uses it.
//
// With FLASHRACK_URL it runs against that station, real workers and emulated phones, and does only what any
// station can do: FLASHRACK_JOB is {"port","serial","numbers":{serial,imeis,wlan_mac,bt_mac}} (numbers: when
// nobody else answers the acceptance prompt). Else everything runs against bench doubles.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { call, double, givenUrl, until } from "./bench.mjs";

const WAIT_MS = Number(process.env.FLASHRACK_WAIT_MS ?? 60000);
const onlyDouble = { skip: givenUrl ? "needs a bench double" : false };

let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
});
after(() => browser?.close());

// Runs a test with a page; whatever the browser complains about fails it.
async function withPage(url, options, work) {
  const context = await browser.newContext({ viewport: { width: 1920, height: 1080 }, ...options });
  context.setDefaultTimeout(WAIT_MS);
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (e) => complaints.push(e.message));
  page.on("console", (m) => {
    // answers 4xx and lost connections are part of some tests and are reported by Chromium by itself
    if (m.type() === "error" && !/Failed to load resource|net::ERR_/.test(m.text())) complaints.push(m.text());
  });
  try {
    await page.goto(`${url}/`);
    await work(page);
    assert.deepEqual(complaints, []);
  } finally {
    await page.unrouteAll({ behavior: "ignoreErrors" }); // answers that a test still had in its hands
    await context.close();
  }
}

async function withDouble(options, work) {
  const bench = await double(...options);
  try {
    await work(bench);
  } finally {
    await bench.stop();
  }
}

const cardOf = (page, port) => page.locator(`article[data-port="${port}"]`);
const shows = (locator, text) => locator.filter({ hasText: text }).first().waitFor();

const job = process.env.FLASHRACK_JOB
  ? JSON.parse(process.env.FLASHRACK_JOB)
  : {
      port: "usbip-127.0.0.1:3240-1-2",
      serial: "PDAGAD0123456789",
      numbers: { serial: "PDAGAD0123456789", imeis: ["490154203237518"], wlan_mac: "a4:50:46:01:02:03", bt_mac: "a4:50:46:01:02:04" },
    };

async function orderByForm(page) {
  await page.keyboard.press("n");
  await page.locator("input[name=serial]").waitFor();
  await until("ports in the form", () => page.locator(`select[name=port] option[value="${job.port}"]`).count());
  await page.selectOption("select[name=port]", job.port);
  await page.fill("input[name=serial]", job.serial);
  await page.keyboard.press("Enter"); // as a scanner does
  const toast = page.locator(".toast");
  await toast.waitFor();
  return (await toast.locator("a").getAttribute("href")).split("/").pop();
}

async function answerNumbers(page, card, numbers) {
  await card.getByRole("button", { name: "Answer" }).click();
  const dialog = page.locator("dialog");
  await dialog.locator("input[name=serial]").fill(numbers.serial);
  await dialog.locator("input[name=imei1]").fill(numbers.imeis[0]);
  if (numbers.imeis[1]) await dialog.locator("input[name=imei2]").fill(numbers.imeis[1]);
  await dialog.locator("input[name=wlan_mac]").fill(numbers.wlan_mac);
  await dialog.locator("input[name=bt_mac]").fill(numbers.bt_mac);
  await dialog.getByRole("button", { name: "These are the phone's numbers" }).click();
  await dialog.waitFor({ state: "detached" });
}

test("a job from the form to Done, live, and the same after a reload", { timeout: 20 * WAIT_MS }, async () => {
  const bench = givenUrl ? { url: givenUrl, stop: () => undefined } : await double("--tick-ms", "50");
  try {
    await withPage(bench.url, {}, async (page) => {
      const id = await orderByForm(page);
      await page.keyboard.press("Escape");
      await page.goto(`${bench.url}/#/`);
      const card = cardOf(page, job.port);
      await shows(card, /Needs a hand|Running/);
      await shows(card, /\d+ %/);
      if (!givenUrl) await shows(card, /\d+ of 671 MB.*MB\/s.*\d:\d\d left/); // an unpaced phone is too quick to see
      if (job.numbers) {
        await shows(card, "Check the phone's numbers");
        const wrong = { ...job.numbers, serial: "PDAGAD0123456780" };
        await answerNumbers(page, card, wrong);
        await shows(card, "the phone shows serial 'PDAGAD0123456780'");
        await card.getByRole("button", { name: "Answer" }).click();
        await page.locator("dialog[open]").waitFor();
        assert.equal(await page.inputValue("dialog input[name=imei1]"), job.numbers.imeis[0]); // not typed twice
        await page.fill("dialog input[name=serial]", job.numbers.serial);
        await page.keyboard.press("Enter");
      }
      await shows(card, "Done");
      await shows(card, job.serial);
      await page.reload();
      await shows(card, "Done");
      await shows(card, job.serial);
      await card.getByRole("link", { name: `Job ${id}` }).click();
      await page.getByRole("heading", { name: `Job ${id}` }).waitFor();
      await page.locator(".log li").first().waitFor();
      await page.locator(".steps tr[data-state=done]").first().waitFor();
      const report = await page.getByRole("link", { name: "Report" }).getAttribute("href");
      await page.goto(bench.url + report);
      await page.getByRole("heading", { name: `Job ${id}: succeeded` }).waitFor();
    });
  } finally {
    await bench.stop();
  }
});

test("an answer that comes late does not undo what was heard since", onlyDouble, async () => {
  await withDouble(["--tick-ms", "20"], async (bench) => {
    await withPage(bench.url, {}, async (page) => {
      await page.route("**/answer", async (route) => {
        const before = await call(bench.url, "GET", "/api/v1/jobs"); // what a station says that has not heard of the worker yet
        await route.fetch();
        await new Promise((resolve) => setTimeout(resolve, 1000)); // by then the job asks again
        await route.fulfill({ json: before.body.items[0] });
      });
      await orderByForm(page);
      await page.goto(`${bench.url}/#/`);
      const card = cardOf(page, job.port);
      await shows(card, "Check the phone's numbers");
      await answerNumbers(page, card, { ...job.numbers, serial: "PDAGAD0123456780" });
      const text = await card.locator(".prompt strong").textContent();
      assert.match(text, /the phone shows serial 'PDAGAD0123456780'/);
    });
  });
});

test("every state is told by word and symbol, not by colour", onlyDouble, async () => {
  await withDouble(["--scene", "--ports", "8"], async (bench) => {
    await withPage(bench.url, {}, async (page) => {
      await page.locator("article").nth(7).waitFor();
      const states = await page.locator("article .state").evaluateAll((all) =>
        all.map((s) => [s.textContent, s.querySelector("svg").dataset.name]));
      assert.deepEqual(states, [["Running", "run"], ["Needs a hand", "hand"], ["Done", "done"], ["Running", "run"],
        ["Empty", "idle"], ["Failed", "fail"], ["Fault", "warn"], ["Needs a hand", "hand"]]);
      const labels = await page.locator("article h2").allTextContents();
      assert.deepEqual(labels, ["A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8"]);
      const summary = await page.locator(".summary li").allTextContents();
      assert.deepEqual(summary, ["2 Running", "2 Need a hand", "1 Done", "2 Failed"]);
      await shows(page.locator("article").nth(5), "Hold both volume keys before plugging in");
    });
  });
});

// WCAG 2: contrast of text on its background, both as [r, g, b].
function contrast(a, b) {
  const light = (c) => {
    const [r, g, bl] = c.map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * bl;
  };
  const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
}

for (const colorScheme of ["light", "dark"]) {
  test(`text can be read: ${colorScheme}`, onlyDouble, async () => {
    await withDouble(["--scene", "--ports", "8"], async (bench) => {
      await withPage(bench.url, { colorScheme }, async (page) => {
        await page.locator("article").nth(7).waitFor();
        const pairs = await page.evaluate(() => {
          const rgb = (text) => text.match(/[\d.]+/g).map(Number);
          const back = (node) => {
            for (let at = node; at; at = at.parentElement) {
              const c = rgb(getComputedStyle(at).backgroundColor);
              if (c.length === 3 || c[3] === 1) return c.slice(0, 3);
            }
            return rgb(getComputedStyle(document.documentElement).backgroundColor).slice(0, 3);
          };
          const leaves = [...document.querySelectorAll("header *, main *")].filter((n) =>
            n.checkVisibility() && [...n.childNodes].some((c) => c.nodeType === Node.TEXT_NODE && c.textContent.trim()));
          return leaves.map((n) => [n.textContent, rgb(getComputedStyle(n).color).slice(0, 3), back(n)]);
        });
        assert.ok(pairs.length > 40);
        for (const [text, ink, paper] of pairs)
          assert.ok(contrast(ink, paper) >= 4.5, `'${text}': ${contrast(ink, paper).toFixed(2)}`);
      });
    });
  });
}

for (const ports of [1, 3, 8, 24, 32]) {
  test(`${ports} ports fit a wall screen, prompts are not cut`, onlyDouble, async () => {
    await withDouble(["--scene", "--ports", String(ports)], async (bench) => {
      await withPage(bench.url, {}, async (page) => {
        await page.locator("article").nth(ports - 1).waitFor();
        await until("layout", () => page.locator(".bench.fit").count());
        const sizes = await page.evaluate(() => ({
          page: document.documentElement.scrollHeight - innerHeight,
          cut: [...document.querySelectorAll(".card-in, .prompt p")].filter((n) => n.checkVisibility() && n.scrollHeight > n.clientHeight + 2)
            .map((n) => n.closest("article").dataset.port),
        }));
        assert.ok(sizes.page <= 0, `scrolls by ${sizes.page}`);
        assert.deepEqual(sizes.cut, []);
      });
    });
  });
}

test("on a phone-size screen nothing sticks out", onlyDouble, async () => {
  await withDouble(["--scene", "--ports", "32"], async (bench) => {
    await withPage(bench.url, { viewport: { width: 390, height: 844 } }, async (page) => {
      for (const path of ["/", "/topology", "/jobs", "/jobs/1", "/new", "/phones", "/phones/1", "/backups", "/backups/1", "/firmware", "/firmware/1", "/conflicts", "/conflicts/1", "/help"]) {
        await page.goto(`${bench.url}/#${path}`);
        await page.locator("main h1, main article").first().waitFor();
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(over <= 0, `${path} is ${over} px too wide`);
      }
    });
  });
});

test("names are text, whatever they hold", onlyDouble, async () => {
  await withDouble([], async (bench) => {
    const hostile = "<img src=x onerror=alert(1)>";
    const id = "usbip-127.0.0.1:3240-1-1";
    assert.equal((await call(bench.url, "PATCH", `/api/v1/ports/${encodeURIComponent(id)}`, { label: hostile })).status, 200);
    await withPage(bench.url, {}, async (page) => {
      assert.equal(await cardOf(page, id).locator("h2").textContent(), hostile);
      assert.equal(await page.locator("main img").count(), 0);
    });
  });
});

test("a lost station is said so; when it is back, the page goes on", onlyDouble, async () => {
  const first = await double("--ports", "2");
  try {
    await withPage(first.url, {}, async (page) => {
      await page.locator("article").first().waitFor();
      assert.ok(await page.locator("#lost").isHidden());
      await first.stop();
      await shows(page.locator("#lost"), "Connection to the station lost");
      await shows(page.locator(".connection"), "Connection lost");
      const second = await double("--ports", "5", "--listen", new URL(first.url).host);
      try {
        await page.locator("article").nth(4).waitFor(); // as the station is now
        await page.locator("#lost").waitFor({ state: "hidden" });
        await shows(page.locator(".connection"), "Live");
      } finally {
        await second.stop();
      }
    });
  } finally {
    await first.stop();
  }
});

test("an open conflict stands in the header; deciding it needs a choice and a reason", onlyDouble, async () => {
  await withDouble([], async (bench) => {
    await withPage(bench.url, {}, async (page) => {
      await page.getByRole("link", { name: "Conflicts (1)" }).click();
      await page.getByRole("link", { name: "conflict 1" }).click();
      await shows(page.locator(".problem"), "is on two phones: 1 and 2");
      const [sent] = await Promise.all([
        page.waitForRequest((r) => r.method() === "POST"),
        (async () => {
          await page.getByRole("button", { name: "Resolve" }).click(); // nothing chosen: the browser holds it back
          await page.getByLabel("What is right, by the labels").selectOption("2");
          await page.getByLabel("Reason; it stays on record").fill("the label of phone 2");
          await page.getByRole("button", { name: "Resolve" }).click();
        })(),
      ]);
      assert.match(sent.url(), /\/conflicts\/1\/resolve$/);
      assert.deepEqual(sent.postDataJSON(), { reason: "the label of phone 2", keep: "2" });
      await shows(page.locator("#toasts"), "resolved");
    });
  });
});

test("cancel asks first", onlyDouble, async () => {
  await withDouble(["--no-hands"], async (bench) => {
    await withPage(bench.url, {}, async (page) => {
      const id = await orderByForm(page);
      await page.goto(`${bench.url}/#/`);
      const card = cardOf(page, job.port);
      await card.getByRole("button", { name: "Cancel" }).click();
      const dialog = page.locator("dialog");
      await shows(dialog, `Cancel job ${id}?`);
      assert.equal(await page.evaluate(() => document.activeElement.textContent), "Keep the job running");
      await page.keyboard.press("Enter"); // the safe answer has the focus
      await dialog.waitFor({ state: "detached" });
      assert.equal((await call(bench.url, "GET", `/api/v1/jobs/${id}`)).body.state, "prompt");
      await card.getByRole("button", { name: "Cancel" }).click();
      await dialog.getByRole("button", { name: "Cancel the job" }).click();
      await shows(card, "Cancelled");
      assert.equal((await call(bench.url, "GET", `/api/v1/jobs/${id}`)).body.state, "cancelled");
    });
  });
});

test("a failed job tells its likely cause, where that says more than the message", onlyDouble, async () => {
  await withDouble(["--scene", "--ports", "8"], async (bench) => {
    await withPage(bench.url, {}, async (page) => {
      await page.locator("article").nth(5).getByRole("link", { name: /^Job / }).click();
      const box = page.locator(".prompt-box[data-tone=fail]");
      await shows(box, "Only the preloader showed up");
      assert.deepEqual(await box.locator("p").allTextContents(), ["Likely cause: the preloader shows up for two seconds and vanishes",
        "Hold both volume keys before plugging in, and keep them.", "Code keys_not_held. The phone shows something else?"]);
      // as tests/unit/failures.c wants it of the other programs
      const told = await page.evaluate(async (errors) => {
        const { causeOf } = await import("/format.js");
        return errors.map(causeOf);
      }, [
        { message: "no bytes for 60 s", cause: "cable or port" }, { message: "the port", cause: "cable or port" },
        { message: "reported: cables, orders", cause: "cable or port" }, { message: "is it Port or Cable?", cause: "cable or port" },
        { code: "cancelled", message: "cancelled", cause: "a person stopped the job" }, { message: "no bytes for 60 s" }, null,
      ]);
      assert.deepEqual(told, ["cable or port", "cable or port", "cable or port", "", "", "", ""]);
    });
  });
});

test("what a person sees at a phone is looked up", onlyDouble, async () => {
  await withDouble(["--scene", "--ports", "8"], async (bench) => {
    const { items } = (await call(bench.url, "GET", "/api/v1/failures")).body;
    await withPage(bench.url, {}, async (page) => {
      await page.locator("article").nth(5).getByRole("link", { name: /^Job / }).click();
      await page.getByRole("link", { name: "The phone shows something else?" }).click();
      const rows = page.locator("tbody tr"), status = page.getByRole("status").filter({ hasText: /\d/ });
      await shows(page.getByRole("link", { name: "Help" }).and(page.locator("[aria-current=page]")), "Help");
      await until("the whole catalogue", async () => (await rows.count()) === items.length);
      const first = await rows.first().locator("td").first().textContent();
      assert.equal(items.find((f) => f.cause === first).seen_by, "person");
      assert.equal(items[0].seen_by, "station"); // the first of the catalogue is not the page's
      const found = async (text, count) => {
        await page.keyboard.press("Control+A"); // the search has the focus
        await page.keyboard.type(text);
        await shows(status, `${count} of ${items.length}`);
        return rows.locator("td[data-title=Id]").allTextContents();
      };
      assert.deepEqual(await found("GOOGLE  signs", 1), ["E6 owner_lock"]);
      await shows(rows, "the owner signs in. The lock is not touched here.");
      assert.deepEqual(await found("e1", 1), ["E1 upgrade_refused"]);
      assert.deepEqual(await found("no such thing", 0), []);
      await page.getByRole("heading", { name: "Nothing has all of these words" }).waitFor();
      await page.keyboard.press("Enter"); // sends nothing, leads nowhere
      assert.match(page.url(), /#\/help$/);
      await page.getByLabel("What do you see?").fill("");
      await until("the whole catalogue again", async () => (await rows.count()) === items.length);
    });
  });
});

test("a station without the catalogue says so", onlyDouble, async () => {
  await withDouble([], async (bench) => {
    await withPage(bench.url, {}, async (page) => {
      let answers = 0;
      await page.route("**/api/v1/failures", (route) => (answers++ ? route.fallback() : route.abort()));
      await page.getByRole("link", { name: "Help" }).click();
      await shows(page.locator(".problem"), "The station does not answer.");
      await page.getByLabel("What do you see?").fill("google"); // asked again
      await page.locator("tbody tr", { hasText: "Google account" }).waitFor();
    });
  });
});

test("the rack as it is wired: hubs, sockets, what is empty, advice", onlyDouble, async () => {
  await withDouble(["--scene", "--ports", "8"], async (bench) => {
    await withPage(bench.url, {}, async (page) => {
      await page.getByRole("link", { name: "Rack", exact: true }).click();
      const hub = page.locator('[data-hub="pci-0000:00:14.0"] [data-hub="pci-0000:00:14.0-usb-0:1"]');
      await shows(hub, "Single-TT hub");
      await shows(hub, "prefer a multi-TT hub");
      await shows(hub.locator('[data-socket="pci-0000:00:14.0-usb-0:1.8"]'), "empty, never used");
      await shows(hub.locator('[data-socket="pci-0000:00:14.0-usb-0:1.7"]'), "A7");
      await shows(page.locator("section.hub", { hasText: "In no hub that is plugged in now" }), "A8");
      // what changes meanwhile is seen, without a reload
      await call(bench.url, "PATCH", "/api/v1/ports/usbip-127.0.0.1%3A3240-1-5", { label: "left shelf", enabled: false });
      await shows(hub.locator('[data-socket="pci-0000:00:14.0-usb-0:1.5"]', { hasText: "left shelf" }), "Disabled");
    });
  });
});

test("labels by plugging one phone along the rack", onlyDouble, async () => {
  await withDouble(["--ports", "3"], async (bench) => {
    const labels = async () => (await call(bench.url, "GET", "/api/v1/ports")).body.items.map((p) => p.label);
    await withPage(bench.url, {}, async (page) => {
      const port = (n) => `usbip-127.0.0.1:3240-1-${n}`;
      await cardOf(page, port(1)).getByRole("button", { name: "A1" }).click();
      await page.getByRole("button", { name: "Label all ports" }).click();
      const dialog = page.locator("dialog", { hasText: "Label the ports" });
      await shows(dialog, `The phone is on port ${port(1)}`);
      await page.fill("dialog input[name=label]", "L1");
      await page.keyboard.press("Enter");
      await shows(dialog.locator("li"), `L1: ${port(1)}`);
      await shows(dialog, `The phone is on port ${port(2)}`);
      await page.fill("dialog input[name=label]", "L1"); // twice
      await page.keyboard.press("Enter");
      await shows(dialog.locator(".problem"), "another port has this label already");
      assert.deepEqual(await labels(), ["L1", "A2", "A3"]);
      await page.fill("dialog input[name=label]", "L3");
      await page.keyboard.press("Enter");
      await shows(dialog.locator("li"), `L3: ${port(2)}`);
      await dialog.getByRole("button", { name: "Correct the last label" }).click();
      await shows(dialog, `Once more: port ${port(2)}`);
      await page.fill("dialog input[name=label]", "L2");
      await page.keyboard.press("Enter");
      await shows(dialog.locator("li"), `L2: ${port(2)}`);
      assert.deepEqual(await labels(), ["L1", "L2", "A3"]);
      await dialog.getByRole("button", { name: "End" }).click();
      await dialog.waitFor({ state: "detached" });
      await until("its end", async () => (await call(bench.url, "GET", "/api/v1/calibration")).body.state === "off");
      await shows(cardOf(page, port(2)), "L2");
      // a label that is no longer beside the socket
      await cardOf(page, port(2)).getByRole("button", { name: "L2" }).click();
      await page.fill("dialog input[name=label]", "");
      await page.getByRole("button", { name: "Save" }).click();
      await until("no label", async () => (await labels())[1] === null);
      await cardOf(page, port(2)).getByRole("button", { name: "L2" }).waitFor({ state: "detached" });
    });
  });
});

// Jobs on the first ports; they stay at the question for keys, so that nothing more is heard of them.
async function waitingJobs(bench, count) {
  for (let n = 1; n <= count; n++)
    await call(bench.url, "POST", "/api/v1/jobs", { recipe: "x5-restore", port: `usbip-127.0.0.1:3240-1-${n}`, serial: `PDAGAD012345678${n}` });
  await until("questions for keys", async () =>
    (await call(bench.url, "GET", "/api/v1/jobs")).body.items.every((j) => j.state === "prompt"));
}

test("jobs tell whose turn it is, what they wait for and when they are tried again", onlyDouble, async () => {
  await withDouble(["--no-hands"], async (bench) => {
    await waitingJobs(bench, 3);
    await withPage(bench.url, {}, async (page) => {
      const waits = { 1: ["phone", "for the phone", 0], 2: ["retry", "for the next try", 0], 3: ["slot", "for its turn", 5] };
      await page.route(/\/api\/v1\/jobs\?/, async (route) => {
        const answer = await (await route.fetch()).json();
        for (const job of answer.items) {
          const [what, text, priority] = waits[job.id] ?? [];
          if (what) Object.assign(job, { state: "queued", waits_for: { what, text }, priority, prompt: null });
          if (what === "retry") job.retry_at = "2026-11-22T10:00:00.000Z";
        }
        await route.fulfill({ json: answer });
      });
      await page.reload();
      await page.locator("article").first().waitFor();
      await page.getByRole("link", { name: "Jobs", exact: true }).click();
      const row = (id) => page.locator("tbody tr", { has: page.getByRole("link", { name: `Job ${id}`, exact: true }) });
      const cell = (id, title) => row(id).locator(`td[data-title="${title}"]`);
      await shows(cell(3, "Turn"), "1 of 3"); // the urgent one
      await shows(cell(1, "Turn"), "2 of 3");
      await shows(cell(2, "Turn"), "3 of 3");
      await shows(cell(1, "Waits for"), /^for the phone$/);
      await shows(cell(2, "Waits for"), /for the next try; again at \d/);
    });
  });
});

test("an interrupted job goes on where its phone is now, when a person says so", onlyDouble, async () => {
  await withDouble(["--no-hands"], async (bench) => {
    await waitingJobs(bench, 3);
    await withPage(bench.url, {}, async (page) => {
      await page.route(/\/api\/v1\/jobs\/1$/, async (route) => {
        const job = await (await route.fetch()).json();
        await route.fulfill({ json: { ...job, state: "interrupted" } });
      });
      await page.goto(`${bench.url}/#/jobs/1`);
      const move = page.getByRole("button", { name: "Continue on another port" });
      await move.click();
      const dialog = page.locator("dialog");
      await shows(dialog, "must be on that port now");
      await page.selectOption("dialog select[name=port]", "usbip-127.0.0.1:3240-1-4");
      await dialog.getByRole("button", { name: "Back" }).click();
      await dialog.waitFor({ state: "detached" });
      assert.equal((await call(bench.url, "GET", "/api/v1/jobs/1")).body.port, "usbip-127.0.0.1:3240-1-1");
      await move.click();
      await page.selectOption("dialog select[name=port]", "usbip-127.0.0.1:3240-1-4");
      await dialog.getByRole("button", { name: "The phone is there: continue" }).click();
      await shows(page.locator(".toast"), "goes on there");
      assert.equal((await call(bench.url, "GET", "/api/v1/jobs/1")).body.port, "usbip-127.0.0.1:3240-1-4");
    });
  });
});

test("a job whose phone is seen elsewhere goes on there when a person confirms it", onlyDouble, async () => {
  await withDouble(["--no-hands"], async (bench) => {
    await waitingJobs(bench, 2);
    const seen_on = { port: "usbip-127.0.0.1:3240-1-5", by: "serial", text: "The phone of this job is seen on port A5: continue there?" };
    await withPage(bench.url, {}, async (page) => {
      await page.route(/\/api\/v1\/jobs\/2$/, async (route) => {
        const job = await (await route.fetch()).json();
        await route.fulfill({ json: { ...job, seen_on, crash_step: "S7 write identity" } });
      });
      await page.goto(`${bench.url}/#/jobs/2`);
      await page.getByRole("heading", { name: seen_on.text }).waitFor();
      await shows(page.locator("dl", { hasText: "Taken up again after its worker died in" }), "S7 write identity");
      assert.equal((await call(bench.url, "GET", "/api/v1/jobs/2")).body.port, "usbip-127.0.0.1:3240-1-2");
      await page.getByRole("button", { name: "The phone is there: continue" }).click();
      await shows(page.locator(".toast"), "goes on there");
      assert.equal((await call(bench.url, "GET", "/api/v1/jobs/2")).body.port, seen_on.port);
    });
  });
});

// Answers of the station, bent before the page sees them.
const bend = (page, pattern, change) => page.route(pattern, async (route) => {
  const body = await (await route.fetch()).json();
  change(body.items ?? [body]);
  await route.fulfill({ json: body });
});
const JOBS = /\/api\/v1\/jobs(\/\d+)?(\?.*)?$/, PORTS = /\/api\/v1\/ports$/;
const READ = ".card-in, .prompt, .prompt p, .result, .advice"; // what must not be cut
const cutOf = (page) => page.evaluate((read) => [...document.querySelectorAll(read)].filter((n) => n.checkVisibility() &&
  (n.scrollHeight > n.clientHeight + 2 || n.scrollWidth > n.clientWidth + 2)).map((n) => `${n.closest("article").dataset.port} ${n.className}`), READ);

for (const ports of [3, 8, 32]) { // 3: on a small screen
  test(`the longest texts are not cut, ${ports} ports`, onlyDouble, async () => {
    await withDouble(["--scene", "--ports", String(ports)], async (bench) => {
      await withPage(bench.url, ports === 3 ? { viewport: { width: 1280, height: 800 } } : {}, async (page) => {
        await bend(page, PORTS, (items) => items.forEach((port) => port.last && (port.last.text = "download agent: INIT_EXT_RAM: status c0040050 EMI_SETTING_VERSION_ERROR: EMI data do not fit this DA: wrong preloader file")));
        await bend(page, JOBS, (items) => items.forEach((job) => {
          if (job.prompt) Object.assign(job.prompt, { text: "Is the phone on port A8 the one with serial PDAGAD0123456789?", todo: "The phone on port A8 has lost its own serial. Compare its label: OK when it says PDAGAD0123456789, abort when it is another phone." });
          if (job.error) job.error.advice = "Nothing was written to the phone. Charge the phone; check that the package's preloader belongs to this phone.";
        }));
        await page.reload();
        await page.locator("article").nth(ports - 1).waitFor();
        await until("layout", () => page.locator(".bench.fit").count());
        await shows(page.locator("article"), "Is the phone on port A8");
        if (ports > 3) await shows(page.locator("article"), "INIT_EXT_RAM");
        assert.deepEqual(await cutOf(page), []);
      });
    });
  });
}

test("a station that cannot work says so above everything, and the cards make room", onlyDouble, async () => {
  await withDouble(["--scene", "--ports", "8"], async (bench) => {
    await withPage(bench.url, {}, async (page) => {
      const trouble = page.locator("#trouble");
      const scrolls = () => page.evaluate(() => document.documentElement.scrollHeight - innerHeight);
      await page.locator("article").nth(7).waitFor();
      assert.ok(await trouble.isHidden());
      let health = { ok: false, portwatch: false, jobs: 0, damage: null, disk: { free_bytes: 1e12, trouble: null } };
      await page.route("**/readyz", (route) => route.fulfill({ status: health.ok ? 200 : 503, json: health }));
      await shows(trouble, "flashrack-portwatch does not run: no phone is seen");
      await until("room for the line", async () => (await scrolls()) <= 0);
      for (const [change, words] of [[{ damage: "page 7 of station.db" }, "is damaged: page 7 of station.db"],
        [{ damage: null, portwatch: true, disk: { free_bytes: 0, trouble: "the disk is full" } }, "Nothing can be stored: the disk is full"],
        [{ disk: { free_bytes: 1024, trouble: null } }, "as good as full"]]) {
        health = { ...health, ...change };
        await page.reload(); // it is asked for at each start, too
        await shows(trouble, words);
      }
      health = { ...health, ok: true };
      await trouble.waitFor({ state: "hidden" });
    });
  });
});

test("a paused job stays on the card of its phone, and goes on from there", onlyDouble, async () => {
  await withDouble(["--no-hands"], async (bench) => {
    await waitingJobs(bench, 2);
    await withPage(bench.url, {}, async (page) => {
      // as after a restart of the station: no worker, so the port has no job
      await bend(page, PORTS, (items) => items.filter((p) => p.job_id === "2").forEach((p) => Object.assign(p, { state: "connected", job_id: null })));
      await bend(page, JOBS, (items) => items.filter((j) => j.id === "2").forEach((j) => Object.assign(j, { state: "paused", prompt: null })));
      await page.reload();
      const card = cardOf(page, "usbip-127.0.0.1:3240-1-2");
      await shows(card, "Paused");
      assert.doesNotMatch(await card.textContent(), /queued/);
      const [sent] = await Promise.all([page.waitForRequest((r) => r.method() === "POST"),
        card.getByRole("button", { name: "Resume" }).click()]);
      assert.match(sent.url(), /\/jobs\/2\/resume$/);
    });
  });
});

test("a job that will be tried again is on the card of its port, with what stands in its way", onlyDouble, async () => {
  await withDouble(["--no-hands"], async (bench) => {
    await waitingJobs(bench, 2);
    await withPage(bench.url, {}, async (page) => {
      await bend(page, PORTS, (items) => items.filter((p) => p.job_id).forEach((p) => Object.assign(p, { state: "empty", job_id: null })));
      await bend(page, JOBS, (items) => items.filter((j) => j.prompt).forEach((j) => Object.assign(j, { state: "waiting", prompt: null, port: "usbip-127.0.0.1:3240-1-2",
        waits_for: { what: "retry", text: "it will be tried again" }, retry_at: "2026-11-22T10:00:00.000Z", error: { code: "station_disk", message: "the disk is full", advice: "Make room." } })));
      await page.reload();
      const card = cardOf(page, "usbip-127.0.0.1:3240-1-2");
      await shows(card, "Waiting");
      await shows(card, /it will be tried again; again at .*Make room\..*1 more job queued/);
      assert.doesNotMatch(await card.textContent(), /Start a new job/);
      await card.getByRole("link", { name: "Job 1" }).waitFor();
    });
  });
});

test("a question that wants no numbers asks for none; giving up asks first", onlyDouble, async () => {
  await withDouble(["--scene", "--ports", "8"], async (bench) => {
    await withPage(bench.url, {}, async (page) => {
      const sent = [];
      page.on("request", (r) => r.method() === "POST" && sent.push(r.postDataJSON()));
      await cardOf(page, "usbip-127.0.0.1:3240-1-8").getByRole("button", { name: "Answer" }).click();
      await page.getByRole("button", { name: "They are not: give up" }).click();
      await shows(page.locator("dialog"), "ends as failed");
      assert.equal(await page.evaluate(() => document.activeElement.textContent), "Keep the job");
      await page.keyboard.press("Enter");
      await page.locator("dialog input[name=serial]").waitFor(); // back at the numbers
      assert.deepEqual(sent, []);
      await page.evaluate(() => (location.hash = "#/jobs")); // as the browser's own buttons do
      await page.locator("dialog").waitFor({ state: "detached" });
      await page.goto(`${bench.url}/#/`);
      await bend(page, JOBS, (items) => items.forEach((j) => j.prompt && (j.prompt.wants = "confirmation")));
      await page.reload();
      await cardOf(page, "usbip-127.0.0.1:3240-1-8").getByRole("button", { name: "Answer" }).click();
      await page.getByRole("button", { name: "Abort: another phone" }).waitFor();
      assert.equal(await page.locator("dialog input").count(), 0);
      await page.getByRole("button", { name: "OK", exact: true }).click();
      await until("an answer", () => sent.length);
      assert.deepEqual(sent, [{ prompt_id: "S21-1", answer: "ok" }]);
    });
  });
});

test("a job that no port would take is told so before it waits", onlyDouble, async () => {
  await withDouble(["--ports", "2"], async (bench) => {
    await withPage(bench.url, {}, async (page) => {
      const hint = "No port takes jobs that name none";
      await page.goto(`${bench.url}/#/new`);
      await page.locator("select[name=port] option").nth(2).waitFor({ state: "attached" });
      assert.equal(await page.getByText(hint).count(), 0); // a port is chosen
      await page.selectOption("select[name=port]", "");
      await page.getByText(hint).waitFor();
      await call(bench.url, "PATCH", "/api/v1/ports/usbip-127.0.0.1%3A3240-1-2", { takes_work: true });
      await page.getByText(hint).waitFor({ state: "detached" });
    });
  });
});

test("the keyboard is enough", onlyDouble, async () => {
  await withDouble(["--scene", "--ports", "8"], async (bench) => {
    await withPage(bench.url, {}, async (page) => {
      const focused = () => page.evaluate(() => document.activeElement.dataset.port ?? document.activeElement.textContent);
      await page.locator("article").nth(7).waitFor();
      await page.keyboard.press("Tab");
      assert.equal(await focused(), "Skip to content");
      await page.locator("article").first().focus();
      await page.keyboard.press("ArrowRight");
      await page.keyboard.press("ArrowDown");
      assert.equal(await focused(), "usbip-127.0.0.1:3240-1-6"); // four columns: one right, one down
      const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert.notEqual(outline, "none");
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { name: "Job 5" }).waitFor();
      await page.keyboard.press("b");
      await page.locator("article").first().waitFor();
      await page.keyboard.press("n");
      await until("serial field", () => page.evaluate(() => document.activeElement.name === "serial"));
    });
  });
});

test("a recipe that only looks wants a port and nothing else", onlyDouble, async () => {
  await withDouble([], async (bench) => {
    await withPage(bench.url, {}, async (page) => {
      await page.keyboard.press("n");
      await until("recipes in the form", () => page.locator("select[name=recipe] option").count());
      assert.equal(await page.inputValue("select[name=recipe]"), "x5-restore"); // whatever else there is
      await page.getByText("More").click();
      await page.selectOption("select[name=recipe]", "x5-upgrade");
      assert.equal(await page.inputValue("select[name=finish]"), "upgrade");
      await page.selectOption("select[name=recipe]", "x5-identify");
      for (const name of ["firmware", "backup", "finish"]) assert.ok(await page.locator(`select[name=${name}]`).isDisabled(), name);
      await page.getByRole("button", { name: "Start job" }).click();
      await page.locator(".toast").waitFor();
      const jobs = await (await fetch(`${bench.url}/api/v1/jobs`)).json();
      assert.equal(jobs.items[0].recipe, "x5-identify");
      assert.equal(jobs.items[0].serial, null);
    });
  });
});

test("a refused order says why and keeps what was typed", onlyDouble, async () => {
  await withDouble([], async (bench) => {
    await withPage(bench.url, {}, async (page) => {
      await page.keyboard.press("n");
      await page.fill("input[name=serial]", "490154203237518");
      await page.keyboard.press("Enter");
      await shows(page.locator(".problem"), "This is an IMEI");
      assert.equal(await page.inputValue("input[name=serial]"), "490154203237518");
      assert.equal((await call(bench.url, "GET", "/api/v1/jobs")).body.items.length, 0);
    });
  });
});

test("empty lists say what to do next; imports work", onlyDouble, async () => {
  await withDouble(["--ports", "0"], async (bench) => {
    await withPage(bench.url, {}, async (page) => {
      await shows(page.locator("main"), "Plug a phone into any USB port");
      for (const [path, text] of [["/jobs", "No job yet"], ["/phones", "No phone is known yet"], ["/backups", "No backup yet"], ["/firmware", "No firmware yet"]]) {
        await page.goto(`${bench.url}/#${path}`);
        await shows(page.locator(".empty"), text);
      }
      await page.fill("input[name=path]", "/etc");
      await page.getByRole("button", { name: "Add" }).click();
      await shows(page.locator(".problem"), "not below");
      await page.fill("input[name=path]", "/srv/firmware/PDA-290H");
      await page.getByRole("button", { name: "Add" }).click();
      await shows(page.locator("tbody"), "PDA-290H");
      await page.goto(`${bench.url}/#/backups`);
      await page.getByText("Import a backup").click();
      await page.fill("input[name=path]", "/srv/dumps/Backup_0");
      await page.fill("input[name=serial]", "PDAGAD0123456789");
      await page.getByRole("button", { name: "Import", exact: true }).click();
      await shows(page.locator("tbody"), "PDAGAD0123456789");
      await shownAsKept(page, bench.url);
    });
  });
});

// The backup is pinned by the API; that retention deleted its images is put into the station's answer.
async function shownAsKept(page, url) {
  await page.request.post(`${url}/api/v1/backups/1/pin`, { data: { pinned: true } });
  await page.reload();
  await shows(page.locator("tbody"), "pinned");
  await page.route(/\/api\/v1\/backups(\/1|\?.*)?$/, async (route) => {
    const response = await route.fetch(), body = await response.json();
    for (const backup of body.items ?? [body]) backup.pruned_at = "2026-11-22T10:00:00.000Z";
    await route.fulfill({ response, json: body });
  });
  await page.reload();
  await shows(page.locator("tbody"), "images deleted");
  await page.getByRole("link", { name: "backup 1" }).click();
  await shows(page.locator("main"), "nothing can be restored");
  assert.equal(await page.getByRole("link", { name: "tar file" }).count(), 0);
}
