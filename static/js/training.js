/* The SLM page's plots: the epochs, the losses with the two Gaussians fitted to them, and the map of the rows. */
"use strict";
(function () {
  const { draw, line, token, percent } = coralCharts;
  const holder = document.querySelector("[data-plots]");
  if (!holder) return;
  const find = (name) => document.querySelector("[" + name + "]");
  const write = (box, values) =>
    Object.entries(values).reduce((text, [name, value]) => text.replaceAll("{" + name + "}", value), box);
  const whole = (count) => count.toLocaleString(document.documentElement.lang);
  let data = null,
    chart = null,
    suspects = [],
    place = -1;

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
          x: { grid: { display: false }, ticks: { maxRotation: 0, autoSkipPadding: 8 } },
          y: { beginAtZero: true, ticks: { maxTicksLimit: 5 } },
          share: {
            position: "right",
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

  function fillChoice(choice, names) {
    choice.closest("label").hidden = !names.length;
    if (choice.options.length === names.length + 1) return;
    choice.replaceChildren(choice.options[0], ...names.map((name, index) => new Option(name, index)));
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
          y: { beginAtZero: true, ticks: { maxTicksLimit: 5, precision: 0 } },
        },
      },
    });
  }

  /* --- The map --- */

  const asPoint = ([id, number, label, flag, rank, x, y]) => ({ x, y, id, number, label, flag, rank });
  const named = (point) =>
    write(holder.dataset.point, {
      number: whole(point.number),
      label: data.labels[point.label].name,
      flag: holder.getAttribute("data-flag-" + point.flag) || "",
    });

  function drawPoints() {
    const canvas = find("data-plot=points");
    const text = find("data-points-text");
    const points = data.points.map(asPoint);
    const known = points.length > 0;
    canvas.parentElement.hidden =
      find("data-points-table").hidden =
      find("data-map-choice").closest("label").hidden =
        !known;
    if (!known) {
      text.textContent = text.dataset.empty;
      return;
    }
    text.textContent = write(text.dataset.words, { count: whole(points.length) });
    const choice = find("data-map-choice");
    fillChoice(
      choice,
      data.labels.map((label) => label.name),
    );
    const shown = (point) => choice.value === "" || Number(choice.value) === point.label;
    suspects = points
      .filter((point) => point.flag !== "right" && shown(point))
      .sort((one, other) => one.rank - other.rank);
    place = -1;
    chart = draw("points", canvas, {
      type: "scatter",
      data: { datasets: mapSeries(points, shown) },
      options: mapOptions(),
    });
    listSuspects();
  }

  /* For each label the plain points and, above all of those, the ringed ones. */
  function mapSeries(points, shown) {
    const of = (label, ringed) =>
      points.filter((point) => point.label === label && (point.flag !== "right") === ringed);
    const faint = token("--line-2") + "88";
    return data.labels.flatMap((label, index) => {
      const colour = token("--l" + (label.colour % 10));
      const fill = (point) => (shown(point) ? colour + "b0" : faint);
      const plain = of(index, false),
        ringed = of(index, true);
      return [
        {
          label: label.name,
          data: plain,
          order: 2,
          pointRadius: 2.5,
          pointBorderWidth: 0,
          backgroundColor: plain.map(fill),
          borderColor: colour,
        },
        {
          label: "",
          data: ringed,
          order: 1,
          pointRadius: ringed.map((point) => (shown(point) ? 4.5 : 2.5)),
          pointBorderWidth: ringed.map((point) => (shown(point) ? 1.75 : 0)),
          pointHoverRadius: 6,
          backgroundColor: ringed.map(fill),
          borderColor: token("--bad"),
        },
      ];
    });
  }

  function mapOptions() {
    const legend = {
      display: data.labels.length <= 10,
      onClick: () => {},
      labels: {
        filter: (item) => item.datasetIndex % 2 === 0,
        generateLabels: (plot) =>
          Chart.defaults.plugins.legend.labels.generateLabels(plot).map((item) => {
            const colour = token("--l" + (data.labels[Math.floor(item.datasetIndex / 2)].colour % 10));
            return Object.assign(item, { fillStyle: colour, strokeStyle: colour });
          }),
      },
    };
    return {
      onClick: (event, elements) => {
        if (elements.length) openRow(elements[0].element.$context.raw);
      },
      onHover: (event, elements) => {
        event.native.target.style.cursor = elements.length ? "pointer" : "";
      },
      plugins: { legend, tooltip: { callbacks: { label: (item) => named(item.raw) } } },
      scales: { x: { display: false }, y: { display: false } },
    };
  }

  function listSuspects() {
    const list = find("data-points-table").querySelector("ol");
    list.replaceChildren(
      ...suspects.slice(0, 20).map((point) => {
        const item = document.createElement("li"),
          link = document.createElement("a");
        link.href = holder.dataset.rows + point.number + "#sample-" + point.id;
        link.textContent = named(point);
        link.addEventListener("click", (event) => {
          event.preventDefault();
          openRow(point);
        });
        item.append(link);
        return item;
      }),
    );
  }

  /* The table then begins with this row. */
  async function openRow(point) {
    await htmx.ajax("GET", holder.dataset.rows + point.number, { target: "#rows", swap: "outerHTML" });
    const row = document.getElementById("sample-" + point.id);
    if (!row) return;
    row.classList.add("opened");
    row.tabIndex = -1;
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }

  /* The arrow keys step through the ringed points, most suspicious first; Enter opens the row. */
  function stepThrough(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter" && place >= 0) {
      event.preventDefault();
      openRow(suspects[place]);
      return;
    }
    if (!step || !suspects.length) return;
    event.preventDefault();
    place = place < 0 ? 0 : (place + step + suspects.length) % suspects.length;
    const point = suspects[place],
      datasetIndex = 2 * point.label + 1;
    const active = [{ datasetIndex, index: chart.data.datasets[datasetIndex].data.indexOf(point) }];
    chart.setActiveElements(active);
    chart.tooltip.setActiveElements(active, { x: 0, y: 0 });
    chart.update();
    find("data-map-said").textContent = named(point);
  }

  /* --- All of them --- */

  async function load() {
    let answer;
    try {
      answer = await fetch(holder.dataset.plots, { headers: { Accept: "application/json" } });
    } catch {
      answer = null;
    }
    if (answer && answer.ok) {
      data = await answer.json();
      drawTraining();
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
    drawPoints();
  }

  coralCharts.start(drawTraining);
  load();
  document.addEventListener("coral:progress", load);
  find("data-loss-choice").addEventListener("change", () => drawLosses(data.losses));
  find("data-map-choice").addEventListener("change", drawPoints);
  find("data-plot=points").addEventListener("keydown", stepThrough);
})();
