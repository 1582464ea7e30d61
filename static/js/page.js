/* Small things for every page: tell CSS that scripts run, say when saving failed, and keep live parts fresh. */
"use strict";
(function () {
  document.documentElement.classList.add("js");
  useTheme(localStorage.getItem("coral-theme"));
  const REFRESH_MS = 1500,
    EPOCH_MS = 400; // an epoch's rows are shown before the next one's come
  const sockets = new Set();
  let rowsDone = null,
    statusSeen = "",
    rowsAt = 0,
    epochSeen = "",
    rowsTimer = null,
    said = null,
    pageTitle = "",
    goalSeen = "",
    workSeen = "",
    planSeen = "";

  /* The person's own choice of light or dark goes before the system's. */
  function useTheme(theme) {
    if (theme) document.getElementById("dark").media = theme === "dark" ? "all" : "not all";
  }

  function switchTheme() {
    const dark = document.getElementById("dark").media;
    const isDark = dark === "all" || (dark !== "not all" && matchMedia(dark).matches);
    localStorage.setItem("coral-theme", isDark ? "light" : "dark");
    useTheme(isDark ? "light" : "dark");
    document.dispatchEvent(new CustomEvent("coral:theme"));
  }

  function notify(text, tone = "error") {
    const box = document.getElementById("notice");
    const note = document.createElement("p");
    note.className = "note " + tone;
    const words = document.createElement("span");
    words.textContent = text;
    note.append(words);
    box.replaceChildren(note);
    box.hidden = false;
    clearTimeout(box.timer);
    box.timer = setTimeout(() => {
      box.hidden = true;
    }, 8000);
    return words;
  }

  function refreshRows(after = REFRESH_MS) {
    clearTimeout(rowsTimer);
    const wait = after - (Date.now() - rowsAt);
    if (wait > 0) {
      rowsTimer = setTimeout(() => refreshRows(after), wait);
      return;
    }
    rowsAt = Date.now();
    document.querySelectorAll("[data-follows-stage]").forEach((part) => htmx.trigger(part, "refresh"));
    document.dispatchEvent(new CustomEvent("coral:progress"));
  }

  /* Who can't see the bar is told of each quarter, and of every change of state. */
  function tellProgress(card) {
    const quarter = Math.floor(card.querySelector("progress").value / 25);
    const now = card.dataset.status + quarter;
    const words = ["h2", ".big", ".pill"].map((part) => card.querySelector(part).textContent.trim());
    if (said !== null && said !== now) document.getElementById("said").textContent = words.join(", ");
    said = now;
  }

  /* The progress card was swapped, by the socket or by polling: has the work moved, does it rest or end? */
  function lookAtStage() {
    const card = document.querySelector("[data-stage]");
    if (!card) return;
    tellProgress(card);
    const seen = [card.dataset.done, card.dataset.epoch, card.dataset.status].join("/");
    if (rowsDone !== null && seen !== rowsDone) refreshRows(card.dataset.epoch === epochSeen ? REFRESH_MS : EPOCH_MS);
    epochSeen = card.dataset.epoch;
    const rests = card.dataset.active === "no" || card.dataset.status === "paused";
    if (rowsDone !== null && rests && card.dataset.status !== statusSeen) {
      document.querySelectorAll("[data-after-stage]").forEach((part) => htmx.trigger(part, "ended"));
    }
    rowsDone = seen;
    statusSeen = card.dataset.status;
  }

  /* A run that this page has seen at work has ended: say so, wherever it was started, and bring the steps up to date. */
  function tellWork() {
    const work = document.getElementById("work");
    if (!work) return;
    const ended = workSeen !== "" && workSeen === work.dataset.run && work.dataset.active === "no";
    workSeen = work.dataset.active === "yes" ? work.dataset.run : "";
    if (!ended) return;
    if (!document.querySelector("[data-stage='" + work.dataset.run + "']")) {
      const link = Object.assign(document.createElement("a"), { href: "" });
      link.textContent = document.querySelector("[data-ended]").dataset.ended;
      notify(work.textContent.trim() + ". ", "success").append(link);
      htmx.ajax("GET", location.href, { target: "#steps", select: "#steps", swap: "outerHTML" });
    }
    if (document.hidden && "Notification" in window && Notification.permission === "granted") {
      new Notification(pageTitle, { body: work.textContent.trim(), tag: "work" });
    }
  }

  /* The tab tells how far the project is, whichever of its pages is open. */
  function tellGoal() {
    const bar = document.getElementById("goal");
    if (!bar) return;
    document.title = bar.dataset.title + " · " + pageTitle;
    const state = bar.dataset.needsPeople + "/" + bar.dataset.certified;
    const calls = goalSeen !== "" && state !== goalSeen && state !== "/";
    goalSeen = state;
    const step = document.getElementById("next-step");
    if (step && planSeen && planSeen !== bar.dataset.plan) htmx.trigger(step, "planned");
    planSeen = bar.dataset.plan;
    if (calls && document.hidden && "Notification" in window && Notification.permission === "granted") {
      new Notification(pageTitle, { body: bar.querySelector(".goal-state").textContent.trim(), tag: "goal" });
    }
  }

  /* Asked for by a button, once, and never by itself. */
  function offerNotifications() {
    const button = document.querySelector("[data-notify]");
    if (!button || !("Notification" in window) || Notification.permission !== "default") return;
    button.hidden = false;
    button.addEventListener("click", () => Notification.requestPermission().then(() => (button.hidden = true)));
  }

  document.addEventListener("DOMContentLoaded", function () {
    pageTitle = document.title;
    const step = document.querySelector(".steps ol [aria-current]");
    if (step) step.closest("ol").scrollLeft = step.offsetLeft - 40;
    tellGoal();
    tellWork();
    offerNotifications();
    lookAtStage();
    const body = document.body;
    body.addEventListener("htmx:wsOpen", (event) => sockets.add(event.target));
    body.addEventListener("htmx:wsClose", (event) => sockets.delete(event.target));
    body.addEventListener("htmx:beforeRequest", function (event) {
      const polls =
        event.target.matches("[data-poll]") && event.detail.requestConfig.triggeringEvent === undefined;
      const isPushed = [...sockets].some((part) => part.contains(event.target));
      if (polls && isPushed) event.preventDefault();
    });
    body.addEventListener("htmx:afterSettle", () => {
      lookAtStage();
      const lead = document.querySelector("[data-lead-on]");
      if (lead) location.assign(lead.href);
    });
    body.addEventListener("htmx:oobAfterSwap", () => setTimeout(lookAtStage, 0));
    body.addEventListener("htmx:wsAfterMessage", () => {
      lookAtStage();
      tellGoal();
      tellWork();
    });
    body.addEventListener("htmx:sendError", (event) => {
      if (!event.target.matches("[data-poll]")) notify(body.dataset.offline);
    });
    body.addEventListener("htmx:responseError", function (event) {
      const status = event.detail.xhr.status;
      const answer = new DOMParser()
        .parseFromString(event.detail.xhr.responseText, "text/html")
        .querySelector(".note, main p");
      notify(status !== 500 && answer ? answer.textContent.trim() : body.dataset.offline);
    });
    document.querySelector("[data-theme]").addEventListener("click", switchTheme);
    /* A select that acts at once; without scripts its form has a button. */
    body.addEventListener("change", function (event) {
      if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
    });
    /* A column that is chosen as the id or the reference label is no content. */
    body.addEventListener("change", function (event) {
      if (!event.target.matches("[name=id_column], [name=reference_column]") || !event.target.value) return;
      document.querySelectorAll("input[name=content_columns]").forEach((box) => {
        if (box.value === event.target.value) box.checked = false;
      });
    });
    /* All rows of the page for a bulk correction; a second click takes them out again. */
    body.addEventListener("click", function (event) {
      const button = event.target.closest("[data-choose-all]");
      if (!button) return;
      const boxes = [...document.querySelectorAll("input.pick")];
      const choose = boxes.some((box) => !box.checked);
      boxes.forEach((box) => {
        box.checked = choose;
      });
    });
    /* A form is sent once, however often it is clicked. */
    body.addEventListener("submit", function (event) {
      const form = event.target;
      if (form.method !== "post" || form.hasAttribute("hx-post")) return;
      if (form.dataset.sent) {
        event.preventDefault();
        return;
      }
      form.dataset.sent = "yes";
      setTimeout(() => {
        delete form.dataset.sent;
      }, 4000);
    });
  });
})();
