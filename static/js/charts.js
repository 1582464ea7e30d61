/* What all plots share, and the comparison of rounds. Colours come from the design tokens, so light and dark are right;
   words come from the page. */
"use strict";
const coralCharts = (function () {
  const charts = {};
  const drawers = [];
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const percent = (value) => (value * 100).toFixed(1) + "\u00a0%";

  const find = (name) => document.querySelector("[" + name + "]");
  const write = (box, values) =>
    Object.entries(values).reduce((text, [name, value]) => text.replaceAll("{" + name + "}", value), box);
  const whole = (count) => count.toLocaleString(document.documentElement.lang);

  function fillChoice(choice, names) {
    choice.closest("label").hidden = !names.length;
    if (choice.options.length === names.length + 1) return;
    choice.replaceChildren(choice.options[0], ...names.map((name, index) => new Option(name, index)));
  }

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

  /* One chart per name; new data goes into the chart that is there, so that nothing flickers. */
  function draw(name, canvas, config) {
    if (charts[name] && charts[name].canvas === canvas) {
      charts[name].data = config.data;
      charts[name].update();
    } else {
      if (charts[name]) charts[name].destroy();
      charts[name] = new Chart(canvas, config);
    }
    return charts[name];
  }

  const line = (label, data, colour, more) =>
    Object.assign(
      {
        label,
        data,
        borderColor: colour,
        backgroundColor: colour,
        borderWidth: 2,
        pointRadius: data.length > 30 ? 0 : 2.5,
        tension: 0,
        spanGaps: true,
        clip: 6, // a point at 100 % lies on the edge and is shown whole
      },
      more,
    );

  function drawRounds() {
    const canvas = document.querySelector("[data-plot=rounds]");
    const holder = document.getElementById("rounds-data");
    if (!canvas || !holder) return;
    const data = JSON.parse(holder.textContent);
    const colours = {
      llm_accuracy: "--l8",
      slm_accuracy: "--l0",
      final_accuracy: "--accent",
      agreement: "--l3",
      clean_share: "--ok",
    };
    const dashed = { agreement: [4, 3], clean_share: [4, 3] };
    const datasets = Object.keys(colours)
      .filter((name) => data[name].some((value) => value !== null))
      .map((name) =>
        line(canvas.getAttribute("data-" + name), data[name], token(colours[name]), {
          borderDash: dashed[name] || [],
          pointRadius: 4,
        }),
      );
    if (data.measured.some(Boolean)) {
      const bound = (place) => data.measured.map((interval) => interval && interval[place]);
      const edge = { borderWidth: 1, borderDash: [2, 3], pointRadius: 5, pointStyle: "line" };
      datasets.push(
        line(canvas.dataset.measured, bound(1), token("--ink"), {
          borderWidth: 2.5,
          pointRadius: 4,
          pointStyle: "rectRot",
        }),
      );
      datasets.push(
        line(canvas.dataset.low, bound(0), token("--ink-3"), edge),
        line(canvas.dataset.high, bound(2), token("--ink-3"), edge),
      );
    }
    canvas.parentElement.hidden = !datasets.length;
    draw("rounds", canvas, {
      type: "line",
      data: {
        labels: data.rounds.map((number) => canvas.dataset.round.replace("{number}", number)),
        datasets,
      },
      options: {
        interaction: { mode: "index", intersect: false },
        plugins: {
          tooltip: { callbacks: { label: (item) => item.dataset.label + ": " + percent(item.parsed.y) } },
        },
        scales: {
          x: { grid: { display: false }, offset: true },
          y: { max: 1, ticks: { callback: (value) => Math.round(value * 100) + " %" } },
        },
      },
    });
  }

  function start(drawer) {
    drawers.push(drawer);
    frame();
    drawer();
  }

  start(drawRounds);
  function drawAnew() {
    for (const name of Object.keys(charts)) {
      charts[name].destroy();
      delete charts[name];
    }
    frame();
    drawers.forEach((drawer) => drawer());
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAnew);
  document.addEventListener("coral:theme", drawAnew);
  return { draw, line, token, percent, start, find, write, whole, fillChoice };
})();
