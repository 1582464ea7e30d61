/* The focus view by keyboard: rows are there before they are asked for, and answers are kept in this browser until the
   server has saved them. Each answer carries an id of its own, so that sending it twice saves it once. */
"use strict";
document.addEventListener("DOMContentLoaded", function () {
  const page = document.getElementById("focus");
  if (!page) return;
  const words = page.dataset;
  const list = document.getElementById("focus-rows");
  const end = document.getElementById("focus-end");
  const sign = document.getElementById("focus-sign");
  const help = document.getElementById("focus-help");
  const STORE = `coral-answers-${words.user}-${words.project}`;
  const FEW_AHEAD = 4,
    RETRY_MS = 3000,
    ARRIVING_MS = 600,
    LAST_ANSWERS = 50;
  let at = 0,
    shownAt = performance.now(),
    sending = null,
    fetching = false,
    retry = null,
    told = 0;
  let fifties = Math.floor(Number(words.answered) / LAST_ANSWERS);
  const given = []; // ids of this visit's answers, for undo

  /* --- What is kept in the browser ----------------------------------------------------------------------------- */
  const kept = () => JSON.parse(localStorage.getItem(STORE) || "[]");
  const keep = (waiting) => localStorage.setItem(STORE, JSON.stringify(waiting));
  const change = (edit) => {
    const waiting = kept();
    edit(waiting);
    keep(waiting);
  };
  /* By what an entry is known: another tab may have sent what stood before it. */
  const keyOf = (one) => one.id || one.undo_id;
  const placeOf = (waiting, one) => waiting.findIndex((each) => keyOf(each) === keyOf(one));

  /* --- The rows on the page ------------------------------------------------------------------------------------ */
  const rows = () => [...list.children];
  const current = () => rows()[at];
  const rowOf = (id) => list.querySelector(`[data-row="${id}"]`);

  function show(place) {
    at = Math.max(0, Math.min(place, rows().length));
    rows().forEach((row, number) => row.classList.toggle("current", number === at));
    end.hidden = at < rows().length;
    shownAt = performance.now();
    const text = current() && current().querySelector(".focus-text, .focus-cells");
    if (text) text.scrollTop = 0;
    fetchRows();
  }

  function fromHtml(html) {
    const shell = document.createElement("template");
    shell.innerHTML = html.trim();
    const row = shell.content.firstElementChild;
    htmx.process(row);
    return row;
  }

  /* A row that the server wants to be looked at once more comes next, in place of its old self. */
  function bring(made) {
    const row = fromHtml(made.html);
    const old = rowOf(made.id);
    const place = old ? rows().indexOf(old) : -1;
    if (old) old.remove();
    if (place >= 0 && place < at) at -= 1;
    list.insertBefore(row, current() || null);
    show(rows().indexOf(row));
    row.classList.add("arriving"); // a key that was meant for the row before must not answer this one
    setTimeout(() => row.classList.remove("arriving"), ARRIVING_MS);
  }

  function remove(row) {
    const place = rows().indexOf(row);
    row.remove();
    show(place < at ? at - 1 : at);
  }

  async function fetchRows() {
    const ahead = rows().slice(at);
    if (!words.next) return; // the rows of a filter, which are all there
    if (fetching || ahead.length > FEW_AHEAD) return;
    fetching = true;
    const toldBefore = told;
    const have = [
      ...new Set([
        ...ahead.map((row) => row.dataset.row),
        ...kept()
          .filter((each) => each.label)
          .map((each) => each.sample),
      ]),
    ];
    try {
      const answer = await post(words.next, { have: have.join(",") });
      const seen = new Set(
        rows()
          .slice(at)
          .map((row) => row.dataset.row),
      );
      const waiting = new Set(kept().map((each) => each.sample));
      const wasEmpty = !current();
      for (const made of answer.rows) {
        if (seen.has(String(made.id)) || waiting.has(String(made.id))) continue;
        const old = rowOf(made.id);
        if (old) {
          if (rows().indexOf(old) < at) at -= 1;
          old.remove();
        }
        list.append(fromHtml(made.html));
      }
      tellFigures(answer.figures, told === toldBefore);
      tellStretch(answer.answered);
      if (wasEmpty && current()) show(at);
    } catch (error) {
      pause(error);
    }
    fetching = false;
    tell();
  }

  /* Figures that came with rows. Today's count stays: it has what is on its way too. So does what is left, where an
     answer was saved, and counted, while these were on their way. */
  function tellFigures(html, isNewest) {
    const today = document.querySelector("[data-today]").textContent;
    const left = [...document.querySelectorAll("[data-left]")].map((figure) => [
      figure.dataset.left,
      figure.textContent,
    ]);
    document.getElementById("focus-figures").outerHTML = html;
    document.querySelector("[data-today]").textContent = today;
    if (!isNewest) showLeft(Object.fromEntries(left));
  }

  /* After each fifty answers of a day the figures draw the eye once. */
  function tellStretch(answered) {
    const now = Math.floor(answered / LAST_ANSWERS);
    const figure = document.querySelector("[data-last-answers]");
    if (figure && now > fifties) figure.classList.add("fresh");
    if (figure && now > fifties) figure.setAttribute("role", "status");
    fifties = now ? Math.max(fifties, now) : 0;
  }

  const nameOf = (button) => (button.querySelector(".name") || button).textContent;

  /* --- Answering ------------------------------------------------------------------------------------------------ */
  function answer(label) {
    const row = current();
    const button = row && row.querySelector(`.answer[value="${label}"]`);
    if (!button || row.classList.contains("arriving")) return;
    const one = {
      id: newId(),
      sample: row.dataset.row,
      version: row.dataset.version,
      because: row.dataset.because,
      label: String(label),
      seconds: ((performance.now() - shownAt) / 1000).toFixed(2),
    };
    change((waiting) => waiting.push(one));
    given.push({ id: one.id, sample: one.sample });
    mark(row, nameOf(button));
    count(1);
    show(at + 1);
    send();
  }

  /* A random UUID; browsers offer their own only to pages that came by https or from this machine. */
  function newId() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 15) | 64;
    bytes[8] = (bytes[8] & 63) | 128;
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  }

  function mark(row, name) {
    const chosen = row.querySelector("[data-chosen]");
    chosen.hidden = !name;
    chosen.textContent = name ? `${words.wordsChosen} ${name}` : "";
  }

  function count(step) {
    const today = document.querySelector("[data-today]");
    const number = Number(today.textContent.replace(/\D/g, ""));
    today.textContent = Math.max(0, number + step);
  }

  /* What is left, as the server counted it after an answer or an undo. */
  function tellLeft(left) {
    told += 1;
    showLeft(left || {});
  }

  function showLeft(left) {
    for (const figure of document.querySelectorAll("[data-left]")) {
      if (figure.dataset.left in left) figure.textContent = left[figure.dataset.left];
    }
  }

  async function undo() {
    if (sending) await sending;
    const last = given.pop();
    const waiting = kept();
    const unsent = last && waiting.find((each) => each.id === last.id && !each.tried);
    if (unsent) {
      keep(waiting.filter((each) => each !== unsent));
      lookAgain(last.sample);
      tell();
    } else if (last) {
      change((all) => all.push({ undo_id: newId(), of: last.id, sample: last.sample }));
      lookAgain(last.sample);
      send();
    } else {
      await undoEarlier();
    }
  }

  /* An answer of an earlier visit: the server knows which was the last. */
  async function undoEarlier() {
    if (kept().length) {
      notify(words.wordsNoUndo);
      return;
    }
    try {
      const answer = await post(words.undo, { undo_id: newId() });
      count(-1);
      tellLeft(answer.left);
      bring(answer.row);
    } catch (error) {
      notify(error.sentence || words.wordsNoUndo);
    }
  }

  function lookAgain(sample) {
    const row = rowOf(sample);
    count(-1);
    if (!row) return;
    mark(row, "");
    show(rows().indexOf(row));
  }

  function pass(how, word) {
    const row = current();
    if (!row || row.classList.contains("arriving")) return;
    change((waiting) => waiting.push({ id: newId(), [how]: true, sample: row.dataset.row }));
    mark(row, word);
    show(at + 1);
    send();
  }
  const skip = () => pass("skip", "");
  const unclear = () => pass("unclear", page.querySelector("[data-do=unclear]").firstChild.textContent.trim());

  /* --- Sending: one after the other, in the order given ----------------------------------------------------------- */
  function send() {
    tell();
    if (!sending)
      sending = sendAll().finally(() => {
        sending = null;
        tell();
      });
  }

  async function sendAll() {
    clearTimeout(retry);
    for (let one = kept()[0]; one; one = kept()[0]) {
      change((waiting) => {
        const place = placeOf(waiting, one);
        if (place >= 0) waiting[place].tried = true;
      });
      try {
        settle(one, await post(addressOf(one), fieldsOf(one)));
      } catch (error) {
        if (error.status === 409) settleConflict(one, error.answer);
        else if (error.status === 400 || error.status === 404) refuse(one, error);
        else {
          pause(error);
          return;
        }
      }
    }
    fetchRows();
    const measured = document.getElementById("measured");
    if (measured && !end.hidden) htmx.trigger(measured, "answered");
  }

  const addressOf = (one) => (one.skip ? words.skip : one.unclear ? words.unclear : one.undo_id ? words.undo : words.answer);
  const fieldsOf = (one) =>
    Object.fromEntries(Object.entries(one).filter(([name]) => !["skip", "unclear", "tried"].includes(name)));
  const drop = (one) =>
    change((waiting) => {
      const place = placeOf(waiting, one);
      if (place >= 0) waiting.splice(place, 1);
    });

  function settle(one, answer) {
    drop(one);
    if (answer.version === undefined) return;
    tellLeft(answer.left);
    const row = rowOf(one.sample);
    if (row) row.dataset.version = answer.version;
    change((waiting) =>
      waiting.forEach((each) => {
        if (each.sample === one.sample && each.version !== undefined) each.version = answer.version;
      }),
    );
    if (answer.row && one.label) bring(answer.row);
  }

  function settleConflict(one, answer) {
    drop(one);
    forget(one);
    tellLeft(answer.left);
    bring(answer.row);
  }

  /* This one can never be saved (its row or its label is gone): it alone is let go, and said to be. */
  function refuse(one, error) {
    drop(one);
    const row = rowOf(one.sample);
    if (one.label) forget(one);
    if (error.status === 404 && row) remove(row);
    else if (one.label && row) mark(row, "");
    notify(error.sentence || words.wordsRefused);
  }

  /* An answer that does not count. */
  function forget(one) {
    const place = given.findIndex((each) => each.id === one.id);
    if (place >= 0) given.splice(place, 1);
    count(-1);
  }

  /* Nothing got through: say so, and try again soon. */
  function pause(error) {
    page.dataset.state = error.status ? "signedOut" : "offline";
    clearTimeout(retry);
    retry = setTimeout(send, RETRY_MS);
  }

  async function post(address, fields) {
    const cookie = document.cookie.split("; ").find((each) => each.startsWith(page.dataset.csrfCookie + "="));
    const token = cookie ? cookie.slice(page.dataset.csrfCookie.length + 1) : "";
    const answer = await fetch(address, {
      method: "POST",
      body: new URLSearchParams(fields),
      redirect: "manual",
      headers: { "X-CSRFToken": token, Accept: "application/json" },
    });
    const isJson = (answer.headers.get("content-type") || "").startsWith("application/json");
    if (answer.status >= 500) throw Object.assign(new Error(), { status: 0 });
    if (!isJson) throw Object.assign(new Error(), { status: 403 }); // a page: signed out, or no member of the project any more
    const said = await answer.json();
    page.dataset.state = "";
    if (!answer.ok)
      throw Object.assign(new Error(), { status: answer.status, answer: said, sentence: said.sentence });
    return said;
  }

  /* --- Signs ------------------------------------------------------------------------------------------------------ */
  function tell() {
    const waiting = kept().filter((each) => each.label).length;
    const state = page.dataset.state;
    sign.className = `focus-sign ${state ? "warn" : kept().length ? "busy" : "ok"}`;
    sign.textContent =
      state === "signedOut"
        ? `${words.wordsSignedOut} ${waiting}`
        : state === "offline"
          ? `${words.wordsOffline} ${waiting}`
          : kept().length
            ? words.wordsSending
            : words.wordsSaved;
  }

  function notify(text) {
    const box = document.getElementById("notice");
    const note = document.createElement("p");
    const inner = document.createElement("span");
    note.className = "note error";
    inner.textContent = text;
    note.append(inner);
    box.replaceChildren(note);
    box.hidden = false;
    setTimeout(() => {
      box.hidden = true;
    }, 6000);
  }

  function toggleHelp() {
    help.hidden = !help.hidden;
    page.querySelector("[data-do=help]").setAttribute("aria-expanded", String(!help.hidden));
  }

  /* --- Keys and buttons --------------------------------------------------------------------------------------------- */
  const actions = {
    skip,
    unclear,
    undo,
    help: toggleHelp,
    back: () => show(at - 1),
    on: () => {
      if (current()) show(at + 1);
    },
  };
  const KEYS = { ArrowLeft: "back", ArrowRight: "on", s: "skip", x: "unclear", u: "undo", "?": "help" };

  /* Many labels: what is typed leaves those whose name holds it, and Enter takes the first. */
  function fitting(find) {
    const typed = find.value.trim().toLowerCase();
    return [...find.form.querySelectorAll(".answer")].filter((button) => {
      button.hidden = !nameOf(button).toLowerCase().includes(typed);
      return !button.hidden;
    });
  }

  page.addEventListener("input", (event) => event.target.matches("[data-find-label]") && fitting(event.target));

  document.addEventListener("keydown", function (event) {
    if (event.key === "Enter" && event.target.matches("[data-find-label]")) {
      event.preventDefault();
      const [first] = event.target.value.trim() ? fitting(event.target) : [];
      event.target.value = "";
      fitting(event.target);
      if (first) answer(first.value);
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea"))
      return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const row = current();
    const button = row && key.length === 1 && row.querySelector(`.answer[data-key="${CSS.escape(key)}"]`);
    if (event.repeat && (button || key === "Enter" || key === "s")) {
      event.preventDefault();
      return;
    }
    if (button) answer(button.value);
    else if (key === "Enter" && !event.target.matches("button, a, summary") && row && row.dataset.suggestion)
      answer(row.dataset.suggestion);
    else if (KEYS[key]) actions[KEYS[key]]();
    else return;
    event.preventDefault();
  });

  page.addEventListener("click", function (event) {
    const button = event.target.closest("button");
    if (!button || !(button.dataset.do || button.classList.contains("answer"))) return;
    event.preventDefault();
    button.blur();
    if (button.dataset.do) actions[button.dataset.do]();
    else answer(button.value);
  });

  window.addEventListener("online", send);
  window.addEventListener("beforeunload", (event) => {
    if (page.dataset.state) event.preventDefault();
  });

  /* Answers that an earlier visit could not send: their rows are not asked again. */
  const waiting = new Set(
    kept()
      .filter((each) => each.label || each.skip)
      .map((each) => each.sample),
  );
  rows().forEach((row) => {
    if (waiting.has(row.dataset.row)) row.remove();
  });
  list.classList.add("live");
  show(0);
  send();
});
