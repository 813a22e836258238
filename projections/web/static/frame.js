// In the frame of a host: tells it the height, and takes the tokens that it sends.
"use strict";

(() => {
  const origins = document.body.dataset.origins.split(" ");
  const expired = document.querySelector("[data-expired]");
  let host = "";

  const send = (message) => host && window.parent.postMessage(message, host);
  const sendHeight = () =>
    send({ sendlog: "height", height: document.documentElement.getBoundingClientRect().height });

  function withToken(url, token) {
    const changed = new URL(url, location.href);
    if (changed.searchParams.has("token")) changed.searchParams.set("token", token);
    return changed.pathname + changed.search + changed.hash;
  }

  // The next request has the new token; what is on the page stays, also what is typed.
  function take(token) {
    if (expired && !document.forms.length) return location.replace(withToken(location.href, token));
    history.replaceState(history.state, "", withToken(location.href, token));
    document.querySelectorAll("a[href^='/embed/']").forEach((link) => {
      link.setAttribute("href", withToken(link.getAttribute("href"), token));
    });
    document.querySelectorAll("input[name=token]").forEach((field) => {
      field.value = token;
    });
    document.querySelectorAll("[data-newer]").forEach((place) => {
      place.dataset.newer = withToken(place.dataset.newer, token);
    });
  }

  addEventListener("message", ({ source, origin, data }) => {
    if (source !== window.parent || !origins.includes(origin)) return;
    if (data?.sendlog === "hello") {
      host = origin;
      sendHeight();
      if (expired) send({ sendlog: "expired" });
    }
    if (data?.sendlog === "token" && typeof data.token === "string") take(data.token);
  });
  new ResizeObserver(sendHeight).observe(document.documentElement);
})();
