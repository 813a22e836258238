// Progressive enhancement: without this script all pages work by links and forms.
"use strict";

const forEachElement = (selector, act) => document.querySelectorAll(selector).forEach(act);

// Where nobody has chosen a time zone, the pages from now on have this browser's. In a frame the
// host says which; there may be no cookies there.
if (!document.body.dataset.origins && !/(^|; )sendlog_zone=/.test(document.cookie)) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const secure = location.protocol === "https:" ? "; secure" : "";
  if (zone) document.cookie = `sendlog_zone=${zone.replaceAll("/", "|")}; path=/; max-age=31536000; samesite=lax${secure}`;
}

// Calls `check` every `seconds` while the page is visible, less often after failures. It ends when
// `check` returns false.
function poll(check, seconds) {
  let failures = 0;
  const run = async () => {
    if (document.visibilityState === "visible") {
      try {
        if ((await check()) === false) return;
        failures = 0;
      } catch {
        failures += 1;
      }
    }
    setTimeout(run, 1000 * seconds * Math.min(2 ** failures, 16));
  };
  setTimeout(run, 1000 * seconds);
}

async function fetchText(url) {
  const reply = await fetch(url, { redirect: "error", credentials: "same-origin" });
  if (!reply.ok) throw new Error(String(reply.status));
  return reply.text();
}

// How many messages are newer than those on the page; the rows stay where they are.
forEachElement("[data-newer]", (place) => {
  poll(async () => {
    const hint = await fetchText(place.dataset.newer);
    if (place.innerHTML.trim() !== hint.trim()) place.innerHTML = hint;
  }, 4);
});

// What takes longer than the page is asked for after it.
forEachElement("[data-fill]", async (place) => {
  place.setAttribute("aria-busy", "true");
  try {
    place.innerHTML = await fetchText(place.dataset.fill);
  } catch {
    // The link that asks for it stays.
  }
  place.removeAttribute("aria-busy");
});

// A page that was not available is loaded as soon as it is.
forEachElement("[data-retry]", (place) => {
  poll(async () => {
    await fetchText(location.href);
    location.reload();
    return false;
  }, Math.max(1, Number(place.dataset.retry) || 5));
});

// A pending command: the page is loaded again when the history has its outcome.
forEachElement("[data-pending]", (place) => {
  poll(async () => {
    const page = new DOMParser().parseFromString(await fetchText(location.href), "text/html");
    if (page.querySelector("[data-pending]")) return true;
    location.reload();
    return false;
  }, 2);
  place.setAttribute("aria-busy", "true");
});

// A form may be submitted only once, because a change takes a moment.
forEachElement("form[data-once]", (form) => {
  form.addEventListener("submit", () => {
    const button = form.querySelector("button");
    button.disabled = true;
    button.textContent = form.dataset.once;
  });
});

// Escape closes an open menu.
document.addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && document.activeElement?.closest("details[open]");
  if (open) {
    open.open = false;
    open.querySelector("summary").focus();
  }
});

// While a page is on its way its button says so.
const busyButtons = new Set();
forEachElement('form[method="get"]', (form) => {
  form.addEventListener("submit", (event) => {
    const button = event.submitter ?? form.querySelector("button");
    button?.setAttribute("aria-busy", "true");
    busyButtons.add(button);
    document.querySelector("main").setAttribute("aria-busy", "true");
  });
});
// Also of a page that comes back as it was left.
window.addEventListener("pageshow", () => {
  busyButtons.forEach((button) => button?.removeAttribute("aria-busy"));
  busyButtons.clear();
  document.querySelector("main").removeAttribute("aria-busy");
});

// Keys of single letters, for whom they disturb nothing: they can be turned off, and are off in
// fields. A row is gone to by its link, so Enter opens it.
const KEYS_OFF = "sendlog-keys-off";
const keysDialog = document.querySelector("#keys");
let areKeysOn = true;

// A browser may refuse a frame of another application its storage: there the page remembers it.
function withStorage(action) {
  try {
    action(localStorage);
  } catch (error) {
    if (error.name !== "SecurityError") throw error;
  }
}
withStorage((storage) => { areKeysOn = storage.getItem(KEYS_OFF) === null; });

function goToRow(step) {
  const rows = [...document.querySelectorAll("table.log tbody tr")];
  const links = rows.map((each) => each.querySelector("[data-open]") ?? each.querySelector("a"));
  const row = document.activeElement?.closest("tr");
  const place = rows.indexOf(row);
  const next = place < 0 ? 0 : Math.min(Math.max(place + step, 0), links.length - 1);
  links[next]?.focus();
}

const KEY_ACTIONS = {
  "/": () => document.querySelector("[data-search]")?.focus(),
  j: () => goToRow(1),
  k: () => goToRow(-1),
  "?": () => keysDialog?.showModal(),
};
document.addEventListener("keydown", (event) => {
  const isField = event.target.closest?.("input, select, textarea, dialog, [contenteditable]");
  const action = Object.hasOwn(KEY_ACTIONS, event.key) && KEY_ACTIONS[event.key];
  const isOn = event.key === "?" || areKeysOn;
  if (!action || !isOn || isField || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  action();
});
forEachElement("[data-keys]", (box) => {
  box.checked = areKeysOn;
  box.addEventListener("change", () => {
    areKeysOn = box.checked;
    withStorage((storage) => {
      if (areKeysOn) storage.removeItem(KEYS_OFF);
      else storage.setItem(KEYS_OFF, "yes");
    });
  });
});
