/* The plots. Colours come from the design tokens, so light and dark are right; words come from the page. */
"use strict";
(function () {
  const charts = {};
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const percent = (value) => (value * 100).toFixed(1) + "\u00a0%";

  function frame() {
    Chart.defaults.font.family = token("--font");
    Chart.defaults.font.size = 12;
    Chart.defaults.color = token("--ink-2");
    Chart.defaults.borderColor = token("--line");
    Chart.defaults.animation = false;
    Chart.defaults.maintainAspectRatio = false;
    Chart.defaults.plugins.legend.position = "bottom";
    Chart.defaults.plugins.legend.labels.usePointStyle = true;
    Chart.defaults.plugins.legend.labels.boxHeight = 6;
  }

  function draw(name, canvas, config) {
    if (charts[name] && charts[name].canvas === canvas) {
      charts[name].data = config.data;
      charts[name].update();
      return;
    }
    if (charts[name]) charts[name].destroy();
    charts[name] = new Chart(canvas, config);
  }

  const line = (label, data, colour, more) => Object.assign({
    label, data, borderColor: colour, backgroundColor: colour, borderWidth: 2, pointRadius: data.length > 30 ? 0 : 2.5, tension: 0, spanGaps: true,
  }, more);

  function drawEpochs(epochs) {
    const canvas = document.querySelector("[data-plot=epochs]");
    const text = document.querySelector("[data-epochs-text]");
    if (!canvas) return;
    canvas.parentElement.hidden = !epochs.length;
    if (!epochs.length) { text.textContent = text.dataset.empty; return; }
    const last = epochs[epochs.length - 1];
    text.textContent = text.dataset.words.replace("{epoch}", last.epoch).replace("{loss}", last.loss.toFixed(3)).replace("{clean}", percent(last.clean_share));
    const robust = epochs.some((epoch) => epoch.loss_unlabelled > 0);
    const datasets = [line(canvas.dataset.loss, epochs.map((epoch) => epoch.loss), token("--accent"), { yAxisID: "y" })];
    if (robust) datasets.push(line(canvas.dataset.unlabelled, epochs.map((epoch) => epoch.phase === "warm-up" ? null : epoch.loss_unlabelled), token("--l8"), { yAxisID: "y", borderDash: [4, 3] }));
    datasets.push(line(canvas.dataset.clean, epochs.map((epoch) => epoch.clean_share), token("--ok"), { yAxisID: "share" }));
    draw("epochs", canvas, {
      type: "line", data: { labels: epochs.map((epoch) => epoch.epoch), datasets },
      options: { interaction: { mode: "index", intersect: false }, scales: {
        x: { grid: { display: false }, ticks: { maxRotation: 0, autoSkipPadding: 8 } }, y: { beginAtZero: true, ticks: { maxTicksLimit: 5 } },
        share: { position: "right", min: 0, max: 1, grid: { display: false }, ticks: { maxTicksLimit: 5, callback: (value) => Math.round(value * 100) + " %" } },
      } },
    });
  }

  function drawPoints(series) {
    const canvas = document.querySelector("[data-plot=points]");
    const text = document.querySelector("[data-points-text]");
    if (!canvas) return;
    const count = series.reduce((sum, each) => sum + each.points.length, 0);
    canvas.parentElement.hidden = !count;
    if (!count) { text.textContent = text.dataset.empty; return; }
    text.textContent = text.dataset.words.replace("{count}", count.toLocaleString(document.documentElement.lang));
    const datasets = series.map((each) => {
      const colour = token("--l" + (each.colour % 10));
      return {
        label: each.label, data: each.points, backgroundColor: colour + "99", borderColor: colour,
        pointStyle: each.points.map((point) => point.wrong ? "crossRot" : "circle"),
        pointRadius: each.points.map((point) => point.wrong ? 4 : 2.5), pointBorderWidth: each.points.map((point) => point.wrong ? 1.5 : 0),
      };
    });
    draw("points", canvas, {
      type: "scatter", data: { datasets },
      options: { plugins: { tooltip: { callbacks: { label: (item) => item.dataset.label } } }, scales: { x: { display: false }, y: { display: false } } },
    });
  }

  function drawRounds() {
    const canvas = document.querySelector("[data-plot=rounds]");
    const holder = document.getElementById("rounds-data");
    if (!canvas || !holder) return;
    const data = JSON.parse(holder.textContent);
    const colours = { llm_accuracy: "--l8", slm_accuracy: "--l0", final_accuracy: "--accent", agreement: "--l3", clean_share: "--ok" };
    const dashed = { agreement: [4, 3], clean_share: [4, 3] };
    const datasets = Object.keys(colours)
      .filter((name) => data[name].some((value) => value !== null))
      .map((name) => line(canvas.getAttribute("data-" + name), data[name], token(colours[name]), { borderDash: dashed[name] || [], pointRadius: 4 }));
    draw("rounds", canvas, {
      type: "line", data: { labels: data.rounds.map((number) => canvas.dataset.round + " " + number), datasets },
      options: { interaction: { mode: "index", intersect: false }, plugins: { tooltip: { callbacks: { label: (item) => item.dataset.label + ": " + percent(item.parsed.y) } } },
        scales: { x: { grid: { display: false }, offset: true }, y: { suggestedMax: 1, ticks: { callback: (value) => Math.round(value * 100) + " %" } } } },
    });
  }

  async function drawTraining() {
    const holder = document.querySelector("[data-plots]");
    if (!holder) return;
    const answer = await fetch(holder.dataset.plots, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    const data = await answer.json();
    drawEpochs(data.epochs);
    drawPoints(data.points);
  }

  function drawAll() { frame(); drawTraining(); drawRounds(); }

  drawAll();
  document.addEventListener("coral:progress", drawTraining);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", function () {
    for (const name of Object.keys(charts)) { charts[name].destroy(); delete charts[name]; }
    drawAll();
  });
})();
