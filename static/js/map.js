/* The map of the rows: drawn after every epoch; zoomed by the wheel; a dragged box filters the table; a click opens a row. */
"use strict";
const coralMap = (function () {
  const { draw, token, find, write, whole, fillChoice } = coralCharts;
  const card = document.getElementById("map");
  const RINGED = 300; // more rings than that hide the map
  const SHAPES = ["circle", "triangle", "rect", "rectRot", "star", "crossRot"];
  const TEXT_LENGTH = 260;
  const texts = new Map();
  let data = null,
    chart = null,
    suspects = [],
    place = -1,
    dragFrom = null,
    hovered = 0;

  const asPoint = ([id, number, label, flag, rank, x, y]) => ({ x, y, id, number, label, flag, rank });
  const named = (point) =>
    write(card.dataset.point, {
      number: whole(point.number),
      label: data.labels[point.label].name,
      flag: card.getAttribute("data-flag-" + point.flag) || "",
    });

  function show(fresh) {
    data = fresh;
    const canvas = find("data-plot=points");
    const text = find("data-points-text");
    const points = data.points.map(asPoint);
    const known = points.length > 0;
    canvas.parentElement.hidden = find("data-points-table").hidden = find("data-map-tools").hidden = !known;
    text.textContent = known
      ? write(text.dataset.words, { count: whole(points.length) })
      : text.dataset.empty;
    if (!known) return;
    const choice = find("data-map-choice");
    fillChoice(
      choice,
      data.labels.map((label) => label.name),
    );
    const shown = (point) => choice.value === "" || Number(choice.value) === point.label;
    suspects = points
      .filter((point) => point.flag !== "right" && shown(point))
      .sort((one, other) => one.rank - other.rank)
      .slice(0, RINGED);
    place = -1;
    chart = draw("points", canvas, {
      type: "scatter",
      data: { datasets: series(points, shown) },
      options: options(),
    });
    listSuspects();
  }

  /* For each label the plain points and, above all of those, the ringed ones. Shapes tell labels apart without colour. */
  function series(points, shown) {
    const ringed = new Set(suspects);
    const size = points.length > 2000 ? 2 : 3;
    return data.labels.flatMap((label, index) => {
      const colour = token("--l" + (label.colour % 10));
      const own = points.filter((point) => point.label === index);
      const pointStyle = SHAPES[index % SHAPES.length];
      return [
        {
          label: label.name,
          data: own.filter((point) => !ringed.has(point)),
          order: 2,
          pointStyle,
          pointRadius: size,
          pointBorderWidth: index % SHAPES.length > 3 ? 1 : 0,
          backgroundColor: (item) => (item.raw && shown(item.raw) ? colour + "90" : token("--line-2") + "66"),
          borderColor: colour,
        },
        {
          label: "",
          data: own.filter((point) => ringed.has(point)),
          order: 1,
          pointStyle: index % SHAPES.length > 3 ? "circle" : pointStyle,
          pointRadius: size + 2.5,
          pointBorderWidth: 2,
          pointHoverRadius: size + 5,
          backgroundColor: colour,
          borderColor: (item) => token(item.raw && item.raw.flag === "wrong" ? "--bad" : "--ink"),
        },
      ];
    });
  }

  function options() {
    const legend = {
      display: data.labels.length <= 12,
      onClick: () => {},
      labels: {
        filter: (item) => item.datasetIndex % 2 === 0,
        generateLabels: (plot) =>
          Chart.defaults.plugins.legend.labels.generateLabels(plot).map((item) => {
            const index = Math.floor(item.datasetIndex / 2);
            const colour = token("--l" + (data.labels[index].colour % 10));
            return Object.assign(item, {
              fillStyle: colour,
              strokeStyle: colour,
              pointStyle: SHAPES[index % SHAPES.length],
            });
          }),
      },
    };
    return {
      onHover: (event, elements) => hover(elements.length ? elements[0].element.$context.raw : null),
      plugins: { legend, tooltip: { enabled: false } },
      scales: { x: { display: false }, y: { display: false } },
    };
  }

  /* --- The row under the pointer, with its text --- */

  async function hover(point) {
    const box = find("data-map-text");
    hovered = point ? point.id : 0;
    if (!point) {
      box.hidden = true;
      return;
    }
    if (!texts.has(point.id)) {
      const answer = await fetch(card.dataset.text.replace("/0/", "/" + point.id + "/"));
      texts.set(point.id, answer.ok ? (await answer.text()).slice(0, TEXT_LENGTH) : "");
    }
    if (hovered !== point.id) return;
    box.replaceChildren(Object.assign(document.createElement("b"), { textContent: named(point) }));
    box.append(" " + texts.get(point.id));
    box.hidden = false;
  }

  /* --- Zoom --- */

  function zoom(factor, at) {
    const { x, y } = chart.scales;
    for (const [axis, centre] of [
      [x, at ? x.getValueForPixel(at.x) : (x.min + x.max) / 2],
      [y, at ? y.getValueForPixel(at.y) : (y.min + y.max) / 2],
    ]) {
      const setting = chart.options.scales[axis.axis];
      setting.min = centre - (centre - axis.min) * factor;
      setting.max = centre + (axis.max - centre) * factor;
    }
    chart.update();
  }

  function showWhole() {
    for (const setting of Object.values(chart.options.scales)) delete setting.min, delete setting.max;
    chart.update();
    select(null);
  }

  /* --- A box, whose rows the table shows --- */

  const inPlot = (event) => {
    const frame = chart.canvas.getBoundingClientRect();
    return { x: event.clientX - frame.left, y: event.clientY - frame.top };
  };

  function boxTo(at) {
    const box = find("data-map-box");
    box.hidden = false;
    box.style.left = Math.min(dragFrom.x, at.x) + "px";
    box.style.top = Math.min(dragFrom.y, at.y) + "px";
    box.style.width = Math.abs(dragFrom.x - at.x) + "px";
    box.style.height = Math.abs(dragFrom.y - at.y) + "px";
  }

  function endDrag(event) {
    if (!dragFrom) return;
    const from = dragFrom,
      to = inPlot(event);
    dragFrom = null;
    find("data-map-box").hidden = true;
    if (Math.hypot(from.x - to.x, from.y - to.y) < 5) {
      const hit = chart.getElementsAtEventForMode(event, "nearest", { intersect: true }, false)[0];
      if (hit) openRow(hit.element.$context.raw);
      return;
    }
    const { x, y } = chart.scales;
    const edges = [from, to].flatMap((at) => [x.getValueForPixel(at.x), y.getValueForPixel(at.y)]);
    select([
      Math.min(edges[0], edges[2]),
      Math.min(edges[1], edges[3]),
      Math.max(edges[0], edges[2]),
      Math.max(edges[1], edges[3]),
    ]);
  }

  function select(area) {
    const words = area ? area.map((edge) => edge.toFixed(3)).join(",") : "";
    const review = find("data-map-review");
    review.hidden = !area || !card.dataset.review;
    review.href = card.dataset.review + words;
    if (card.dataset.review || !area)
      htmx.ajax("GET", card.dataset.area + words, { target: "#rows", swap: "outerHTML" });
  }

  /* --- Rows --- */

  function listSuspects() {
    find("data-points-table")
      .querySelector("ol")
      .replaceChildren(
        ...suspects.slice(0, 20).map((point) => {
          const item = document.createElement("li"),
            link = document.createElement("a");
          link.href = card.dataset.rows + point.number + "#sample-" + point.id;
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
    await htmx.ajax("GET", card.dataset.rows + point.number, { target: "#rows", swap: "outerHTML" });
    const row = document.getElementById("sample-" + point.id);
    if (!row) return;
    row.classList.add("opened");
    row.tabIndex = -1;
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }

  /* The arrow keys step through the ringed points, most suspicious first; Enter opens the row. */
  function onKey(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 0.7 : 1.4);
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
    chart.setActiveElements([
      { datasetIndex, index: chart.data.datasets[datasetIndex].data.indexOf(point) },
    ]);
    chart.update();
    hover(point);
    find("data-map-said").textContent = named(point);
  }

  if (card) {
    const canvas = find("data-plot=points");
    canvas.addEventListener("keydown", onKey);
    canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") return;
      dragFrom = inPlot(event);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => dragFrom && boxTo(inPlot(event)));
    canvas.addEventListener("pointerup", endDrag);
    canvas.addEventListener("click", (event) => {
      if (event.pointerType !== "touch") return;
      const hit = chart.getElementsAtEventForMode(event, "nearest", { intersect: false }, false)[0];
      if (hit) openRow(hit.element.$context.raw);
    });
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        zoom(event.deltaY < 0 ? 0.85 : 1.18, inPlot(event));
      },
      { passive: false },
    );
    find("data-map-choice").addEventListener("change", () => show(data));
    find("data-map-reset").addEventListener("click", showWhole);
    card
      .querySelectorAll("[data-map-zoom]")
      .forEach((button) => button.addEventListener("click", () => zoom(Number(button.dataset.mapZoom))));
  }
  return { show };
})();
