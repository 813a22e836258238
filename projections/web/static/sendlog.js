// What the pages do beyond plain HTML; without it everything still works, by links and forms.
"use strict";

const every = (selector, act) => document.querySelectorAll(selector).forEach(act);

// The reader's own time, beside the UTC that is shown.
every("time[datetime]", (time) => {
  const local = new Date(time.dateTime);
  if (!Number.isNaN(local.valueOf())) {
    time.title = `${local.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" })} where you are`;
  }
});

// Calls `look` again and again while the page is seen, less often while that fails.
function repeat(look, seconds) {
  let failed = 0;
  const again = async () => {
    if (document.visibilityState === "visible") {
      try {
        if ((await look()) === false) return;
        failed = 0;
      } catch {
        failed += 1;
      }
    }
    setTimeout(again, 1000 * seconds * Math.min(2 ** failed, 16));
  };
  setTimeout(again, 1000 * seconds);
}

async function fetched(address) {
  const reply = await fetch(address, { redirect: "error", credentials: "same-origin" });
  if (!reply.ok) throw new Error(String(reply.status));
  return reply.text();
}

// A log: how many messages are newer than those shown. What is being read stays where it is.
every("[data-newer]", (place) => {
  repeat(async () => {
    const hint = await fetched(place.dataset.newer);
    if (place.innerHTML.trim() !== hint.trim()) place.innerHTML = hint;
  }, 4);
});

// A page that was not available: as soon as it is, it is shown.
every("[data-retry]", (place) => {
  repeat(async () => {
    await fetched(location.href);
    location.reload();
    return false;
  }, Math.max(1, Number(place.dataset.retry) || 5));
});

// A command under way: shown anew once there is a line of history of it.
every("[data-pending]", (place) => {
  repeat(async () => {
    const page = new DOMParser().parseFromString(await fetched(location.href), "text/html");
    if (page.querySelector("[data-pending]")) return true;
    location.reload();
    return false;
  }, 2);
  place.setAttribute("aria-busy", "true");
});

// A change takes a moment, and must not be asked for twice.
every("form[data-once]", (form) => {
  form.addEventListener("submit", () => {
    const button = form.querySelector("button");
    button.disabled = true;
    button.textContent = "Waiting for it to take effect …";
  });
});

// Escape closes what was opened.
document.addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && document.activeElement?.closest("details[open]");
  if (open) {
    open.open = false;
    open.querySelector("summary").focus();
  }
});
