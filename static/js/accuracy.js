/* The page of the measured accuracy: errors found against rows checked, and where that is going. */
"use strict";
(function () {
  const { draw, line, token, start } = coralCharts;
  function drawFound() {
    const canvas = document.querySelector("[data-plot=found]");
    const holder = document.getElementById("found-data");
    if (!canvas || !holder) return;
    const data = JSON.parse(holder.textContent);
    const datasets = [line(canvas.dataset.found, data.found, token("--accent"))];
    if (data.forecast.length)
      datasets.push(line(canvas.dataset.forecast, data.forecast, token("--ink-3"), { borderDash: [4, 3] }));
    draw("found", canvas, {
      type: "line",
      data: { datasets },
      options: {
        parsing: false,
        scales: {
          x: {
            type: "linear",
            grid: { display: false },
            title: { display: true, text: canvas.dataset.rows },
          },
          y: { beginAtZero: true, ticks: { precision: 0 } },
        },
      },
    });
  }
  start(drawFound);
})();
