/* The SLM page's plots: the epochs, and the losses with the two Gaussians fitted to them. The map is in map.js. */
"use strict";
(function () {
  const { draw, line, token, percent, find, write, whole, fillChoice } = coralCharts;
  const holder = document.querySelector("[data-plots]");
  if (!holder) return;
  let data = null;

  /* --- Epochs --- */

  function drawEpochs(epochs) {
    const canvas = find("data-plot=epochs");
    const text = find("data-epochs-text");
    canvas.parentElement.hidden = !epochs.length;
    find("data-epochs-table").hidden = !epochs.length;
    if (!epochs.length) {
      text.textContent = text.dataset.empty;
      return;
    }
    const last = epochs[epochs.length - 1];
    text.textContent = write(text.dataset.words, {
      epoch: last.epoch,
      loss: last.loss.toFixed(3),
      clean: percent(last.clean_share),
    });
    const robust = epochs.some((epoch) => epoch.loss_unlabelled > 0);
    const datasets = [
      line(
        canvas.dataset.loss,
        epochs.map((epoch) => epoch.loss),
        token("--accent"),
        { yAxisID: "y" },
      ),
    ];
    if (robust)
      datasets.push(
        line(
          canvas.dataset.unlabelled,
          epochs.map((epoch) => (epoch.phase === "warm-up" ? null : epoch.loss_unlabelled)),
          token("--l8"),
          { yAxisID: "y", borderDash: [4, 3] },
        ),
      );
    datasets.push(
      line(
        canvas.dataset.clean,
        epochs.map((epoch) => epoch.clean_share),
        token("--ok"),
        { yAxisID: "share" },
      ),
    );
    draw("epochs", canvas, {
      type: "line",
      data: { labels: epochs.map((epoch) => epoch.epoch), datasets },
      options: {
        interaction: { mode: "index", intersect: false },
        scales: {
          x: {
            grid: { display: false },
            title: { display: true, text: canvas.dataset.axisX },
            ticks: { maxRotation: 0, autoSkipPadding: 8 },
          },
          y: {
            beginAtZero: true,
            title: { display: true, text: canvas.dataset.axisY },
            ticks: { maxTicksLimit: 5 },
          },
          share: {
            position: "right",
            title: { display: true, text: canvas.dataset.axisShare },
            min: 0,
            max: 1,
            grid: { display: false },
            ticks: { maxTicksLimit: 5, callback: (value) => Math.round(value * 100) + " %" },
          },
        },
      },
    });
    fillTable(
      find("data-epochs-table"),
      epochs.map((epoch) => [
        epoch.epoch,
        epoch.loss.toFixed(3),
        epoch.phase === "warm-up" ? "–" : epoch.loss_unlabelled.toFixed(3),
        percent(epoch.clean_share),
      ]),
    );
  }

  function fillTable(details, lines) {
    details.querySelector("tbody").replaceChildren(
      ...lines.map((cells) => {
        const row = document.createElement("tr");
        cells.forEach((cell) => {
          const box = row.insertCell();
          box.className = "num";
          box.append(cell);
        });
        return row;
      }),
    );
  }

  /* --- Losses --- */

  const added = (parts, name) =>
    parts[0][name].map((_value, bin) => parts.reduce((sum, part) => sum + (part[name][bin] || 0), 0));

  /* One class, or all: their counts and expectations added up. */
  function chosenLosses(losses) {
    const choice = find("data-loss-choice");
    fillChoice(choice, losses.parts.length > 1 ? losses.parts.map((part) => part.label) : []);
    const part = losses.parts[Number(choice.value)];
    if (choice.value !== "" && part) return part;
    const fitted = losses.parts.filter((each) => each.clean.length);
    return {
      counts: added(losses.parts, "counts"),
      clean: fitted.length ? added(fitted, "clean") : [],
      noisy: fitted.length ? added(fitted, "noisy") : [],
      boundary: losses.parts.length === 1 ? losses.parts[0].boundary : null,
      fallback: losses.parts.length === 1 ? losses.parts[0].fallback : "",
      left_out: losses.parts.length - fitted.length,
    };
  }

  function lossText(box, part) {
    if (part.fallback) return write(box.dataset.ranks, { reason: part.fallback });
    if (!part.clean.length) return box.dataset.none;
    const sentences = [box.dataset.words];
    if (part.boundary !== null)
      sentences.push(write(box.dataset.boundary, { loss: part.boundary.toFixed(2) }));
    if (part.left_out) sentences.push(write(box.dataset.leftOut, { count: part.left_out }));
    return sentences.join(" ");
  }

  function drawLosses(losses) {
    const canvas = find("data-plot=losses");
    const text = find("data-losses-text");
    const known = losses.parts.length > 0;
    canvas.parentElement.hidden = !known;
    find("data-loss-choice").closest("label").hidden = !known;
    if (!known) {
      text.textContent = text.dataset.empty;
      return;
    }
    const part = chosenLosses(losses);
    text.textContent = lossText(text, part);
    const bins = losses.edges.slice(0, -1);
    const suspicious = bins.map(
      (low, bin) => part.boundary !== null && (low + losses.edges[bin + 1]) / 2 > part.boundary,
    );
    const datasets = [
      {
        type: "bar",
        label: canvas.dataset.rows,
        data: part.counts,
        order: 2,
        categoryPercentage: 1,
        barPercentage: 0.92,
        pointStyle: "rect",
        backgroundColor: suspicious.map((wrong) => token(wrong ? "--bad" : "--l8") + "66"),
      },
    ];
    if (part.clean.length) {
      datasets.push(
        line(canvas.dataset.clean, part.clean, token("--ok"), {
          type: "line",
          order: 1,
          pointRadius: 0,
          tension: 0.3,
          pointStyle: "line",
        }),
      );
      datasets.push(
        line(canvas.dataset.noisy, part.noisy, token("--bad"), {
          type: "line",
          order: 1,
          pointRadius: 0,
          tension: 0.3,
          pointStyle: "line",
          borderDash: [5, 3],
        }),
      );
    }
    draw("losses", canvas, {
      type: "bar",
      data: { labels: bins.map((low) => low.toFixed(1)), datasets },
      options: {
        interaction: { mode: "index", intersect: false },
        plugins: {
          tooltip: {
            callbacks: {
              title: (items) =>
                canvas.dataset.axis +
                " " +
                losses.edges[items[0].dataIndex].toFixed(2) +
                " – " +
                losses.edges[items[0].dataIndex + 1].toFixed(2),
              label: (item) =>
                item.dataset.label +
                ": " +
                (item.datasetIndex ? item.parsed.y.toFixed(1) : whole(item.parsed.y)),
            },
          },
        },
        scales: {
          x: {
            grid: { display: false },
            title: { display: true, text: canvas.dataset.axis },
            ticks: { maxRotation: 0, autoSkipPadding: 14 },
          },
          y: {
            beginAtZero: true,
            title: { display: true, text: canvas.dataset.axisY },
            ticks: { maxTicksLimit: 5, precision: 0 },
          },
        },
      },
    });
  }

  /* --- All of them --- */

  async function load() {
    let answer;
    try {
      const seen = "&seen=" + ((data && data.version) || "");
      answer = await fetch(holder.dataset.plots + seen, { headers: { Accept: "application/json" } });
    } catch {
      answer = null;
    }
    if (answer && answer.ok) {
      const fresh = await answer.json();
      if (fresh.epochs) data = fresh;
      if (fresh.epochs) drawTraining();
      return;
    }
    if (!data)
      holder.querySelectorAll(".plot-text").forEach((text) => {
        text.textContent = holder.dataset.failed;
      });
  }

  function drawTraining() {
    if (!data) return;
    drawEpochs(data.epochs);
    drawLosses(data.losses);
    coralMap.show(data);
  }

  coralCharts.start(drawTraining);
  load();
  document.addEventListener("coral:progress", load);
  find("data-loss-choice").addEventListener("change", () => drawLosses(data.losses));
})();
