// Values under the pointer or the arrow keys, and larger pictures. Without it the page stays readable.
"use strict";

for (const figure of document.querySelectorAll("[data-chart]")) {
  const { axes: [[left, right], [low, high]], logarithmic, lines } = JSON.parse(figure.dataset.chart);
  const plot = figure.querySelector(".plot");
  const cursor = figure.querySelector(".cursor");
  const steps = [...new Set(lines.flatMap((line) => line.steps))].sort((a, b) => a - b);
  let current = 0;

  const across = (step) => (step - left) / (right - left);
  const up = (value) =>
    logarithmic ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);

  // The index of the number in an ascending list that is nearest to `wanted`.
  const nearest = (list, wanted) => {
    let first = 0;
    let last = list.length - 1;
    while (last - first > 1) {
      const middle = (first + last) >> 1;
      if (list[middle] < wanted) first = middle;
      else last = middle;
    }
    return Math.abs(list[last] - wanted) < Math.abs(list[first] - wanted) ? last : first;
  };

  const add = (parent, tag, className, text) => {
    const made = parent.appendChild(document.createElement(tag));
    made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const shown = (value) => (value === null ? "not finite" : String(value));

  const show = (index) => {
    current = Math.max(0, Math.min(index, steps.length - 1));
    const step = steps[current];
    cursor.replaceChildren();
    cursor.hidden = false;
    add(cursor, "i", "rule").style.left = `${100 * across(step)}%`;
    const tip = add(cursor, "div", across(step) > 0.5 ? "tip to-the-left" : "tip");
    tip.style[across(step) > 0.5 ? "right" : "left"] =
      `${100 * (across(step) > 0.5 ? 1 - across(step) : across(step))}%`;
    add(tip, "b", "", `step ${step.toLocaleString("en")}`);
    for (const line of lines) {
      const i = nearest(line.steps, step);
      const value = line.values[i];
      const drawn = line.smooth ? line.smooth[i] : value;
      const row = add(tip, "span", "");
      add(row, "i", `key ${line.style}`);
      const where = line.steps[i] === step ? "" : ` at ${line.steps[i].toLocaleString("en")}`;
      const mean = line.smooth && drawn !== null ? `, mean ${shown(drawn)}` : "";
      row.append(`${lines.length > 1 ? `${line.label} ` : ""}${shown(value)}${mean}${where}`);
      if (drawn !== null) {
        const dot = add(cursor, "i", `dot ${line.style}`);
        dot.style.left = `${100 * across(line.steps[i])}%`;
        dot.style.bottom = `${100 * up(drawn)}%`;
      }
    }
  };

  const hide = () => {
    cursor.hidden = true;
  };

  plot.tabIndex = 0;
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    show(nearest(steps, left + ((event.clientX - box.left) / box.width) * (right - left)));
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: steps.length - 1 };
    if (event.key in moves) {
      event.preventDefault();
      show(moves[event.key]);
    }
  });
}

for (const button of document.querySelectorAll(".pictures button")) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-expanded", button.closest("figure").classList.toggle("large"));
  });
}
