// For the pages of a host: shows a customer record of Sendlog in an element, as a frame.
//   <div data-sendlog-record="family/F-1162" data-sendlog-token-url="/my/token"></div>
//   Sendlog.embed(element, { record: "family/F-1162", token: async () => "…" })
"use strict";

(() => {
  const { origin } = new URL(document.currentScript.src);
  const WORDS = {}; // by language, from the server
  const gettext = (text) => WORDS[document.documentElement.lang.slice(0, 2)]?.[text] ?? text;

  // `token` gives a token, or a promise of one. Returns the frame.
  function embed(element, { record, url, token, theme = "auto", accent = "", title = gettext("Email Log") }) {
    const frame = document.createElement("iframe");
    const path = String(record).split("/").map(encodeURIComponent).join("/");
    const address = new URL(url ?? `/embed/records/${path}`, origin);
    let loads = 0;
    let timer;

    const send = (message) => frame.contentWindow?.postMessage(message, address.origin);

    // A token is replaced when three quarters of its time are over; no clock has to be right.
    async function renew() {
      const text = await token();
      const { iat, exp } = JSON.parse(atob(text.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")));
      clearTimeout(timer);
      timer = setTimeout(refresh, 750 * (exp - iat), 0);
      return text;
    }
    async function refresh(tries) {
      if (!frame.isConnected) return;
      try {
        send({ sendlog: "token", token: await renew() });
      } catch {
        if (tries < 6) timer = setTimeout(refresh, 2000 * 2 ** tries, tries + 1);
      }
    }

    addEventListener("message", (event) => {
      if (event.source !== frame.contentWindow || event.origin !== address.origin) return;
      const { sendlog, height } = event.data ?? {};
      if (sendlog === "height") frame.style.height = `${Math.ceil(height)}px`;
      if (sendlog === "expired") refresh(0);
    });
    frame.addEventListener("load", () => {
      send({ sendlog: "hello" });
      // After a link far down, the next page begins at its top.
      if (loads++ && frame.getBoundingClientRect().top < 0) frame.scrollIntoView();
    });
    Object.assign(frame, { title, referrerPolicy: "no-referrer" });
    frame.style.cssText = "display: block; width: 100%; height: 30rem; border: 0";
    renew().then(
      (text) => {
        address.search = new URLSearchParams({ token: text, theme, ...(accent && { accent }) });
        frame.src = address;
        element.replaceChildren(frame);
      },
      () => element.replaceChildren(gettext("The log cannot be shown. Reload the page to try again.")),
    );
    return frame;
  }

  globalThis.Sendlog = { embed };
  const begin = () => {
    for (const element of document.querySelectorAll("[data-sendlog-record]")) {
      const { sendlogRecord, sendlogTokenUrl, sendlogTheme, sendlogAccent } = element.dataset;
      const token = async () => (await (await fetch(sendlogTokenUrl)).json()).token;
      embed(element, { record: sendlogRecord, token, theme: sendlogTheme, accent: sendlogAccent });
    }
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", begin);
  else begin();
})();
