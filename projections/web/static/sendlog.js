// Progressive enhancement: without this script all pages work by links and forms.
"use strict";

const forEachElement = (selector, act) => document.querySelectorAll(selector).forEach(act);

// The local time as a tooltip of each time in UTC.
forEachElement("time[datetime]", (time) => {
  const local = new Date(time.dateTime);
  if (!Number.isNaN(local.valueOf())) {
    time.title = `${local.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" })} where you are`;
  }
});

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
    button.textContent = "Waiting for it to take effect …";
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
