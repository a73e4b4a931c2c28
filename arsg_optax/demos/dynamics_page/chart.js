// Draws a curve over a logarithmic axis into an SVG element.

const MARGIN = { left: 70, right: 12, top: 12, bottom: 46 };

function element(parent, name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function powerOfTen(exponent) {
  const digits = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  const text = [...String(Math.abs(exponent))].map((digit) => digits[digit]).join("");
  return `10${exponent < 0 ? "⁻" : ""}${text}`;
}

// Places and labels at whole decades, as many as have room.
function decades([start, end], room) {
  const low = Math.ceil(Math.log10(start) - 1e-9);
  const high = Math.floor(Math.log10(end) + 1e-9);
  const step = Math.max(1, Math.ceil((high - low) / room));
  const ticks = [];
  for (let e = low; e <= high; e += step) ticks.push([10 ** e, powerOfTen(e)]);
  return ticks;
}

// Places and labels at round numbers, about as many as have room.
function rounds([start, end], room) {
  const rough = (end - start) / room;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let i = Math.ceil(start / step); i * step <= end; i++) {
    ticks.push([i * step, (i * step).toFixed(digits)]);
  }
  return ticks;
}

// `across` and `up` are ranges; `marks` are lines [class, place] and `shade` a range.
function drawChart(svg, { x, y, across, up, logarithmic, marks, shade, one }) {
  const { width, height } = svg.getBoundingClientRect();
  const right = width - MARGIN.right;
  const bottom = height - MARGIN.bottom;
  const share = (value, [start, end], log) => log
    ? Math.log(value / start) / Math.log(end / start)
    : (value - start) / (end - start);
  const toX = (value) => MARGIN.left + share(value, across, true) * (right - MARGIN.left);
  // Far outside of the frame, a browser would lose digits.
  const toY = (value) => Math.min(2 * height, Math.max(-height,
    bottom - share(value, up, logarithmic) * (bottom - MARGIN.top)));
  svg.replaceChildren();
  const frame = {
    x: MARGIN.left, y: MARGIN.top, width: right - MARGIN.left,
    height: bottom - MARGIN.top,
  };
  const clip = element(svg, "clipPath", { id: `${svg.id}-clip` });
  element(clip, "rect", frame);
  for (const [value, label] of decades(across, (right - MARGIN.left) / 55)) {
    const place = toX(value);
    element(svg, "line",
      { class: "grid", x1: place, x2: place, y1: MARGIN.top, y2: bottom });
    element(svg, "text", { x: place, y: bottom + 17, "text-anchor": "middle" }, label);
  }
  for (const [value, label] of (logarithmic ? decades : rounds)(up, 6)) {
    const place = toY(value);
    element(svg, "line",
      { class: "grid", x1: MARGIN.left, x2: right, y1: place, y2: place });
    element(svg, "text",
      { x: MARGIN.left - 7, y: place + 4, "text-anchor": "end" }, label);
  }
  element(svg, "text",
    { x: (MARGIN.left + right) / 2, y: height - 6, "text-anchor": "middle" },
    "curvature λ (loss per parameter²)");
  const inside = element(svg, "g", { "clip-path": `url(#${svg.id}-clip)` });
  if (shade) {
    const [start, end] = shade.map(toX);
    element(inside, "rect",
      { ...frame, class: "shade", x: start, width: Math.max(0, end - start) });
  }
  if (one) {
    const place = toY(1);
    element(inside, "line",
      { class: "one", x1: MARGIN.left, x2: right, y1: place, y2: place });
  }
  for (const [kind, value] of marks) {
    const place = toX(value);
    element(inside, "line",
      { class: kind, x1: place, x2: place, y1: MARGIN.top, y2: bottom });
  }
  // A curve ends where it is infinite.
  const points = x.flatMap((value, i) => Number.isFinite(y[i])
    ? [`${toX(value).toFixed(2)},${toY(y[i]).toFixed(2)}`] : []);
  element(inside, "polyline", { class: "curve", points: points.join(" ") });
  element(svg, "rect", { ...frame, class: "frame" });
  const cross = element(inside, "g", {});
  return {
    // The value of the horizontal axis at a place on the page.
    valueAt(place) {
      const at = (place - svg.getBoundingClientRect().left - MARGIN.left) / frame.width;
      return across[0] * (across[1] / across[0]) ** at;
    },
    point(index) {
      cross.replaceChildren();
      if (index === null) return;
      const place = toX(x[index]);
      element(cross, "line",
        { class: "cross", x1: place, x2: place, y1: MARGIN.top, y2: bottom });
      if (Number.isFinite(y[index])) {
        element(cross, "circle", { class: "dot", cx: place, cy: toY(y[index]), r: 5 });
      }
    },
  };
}
