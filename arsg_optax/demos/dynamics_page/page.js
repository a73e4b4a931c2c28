// Runs last: reads the sliders, draws both charts, and follows the pointer.

const setting = JSON.parse(document.getElementById("setting").textContent);
const find = (id) => document.getElementById(id);
const NAMES = ["alpha", "decay", "observation"];
const HINT = "Point at a chart, or touch it, to read the values at a curvature.";
// The last curves that were drawn, and the charts.
let shown = null;
let charts = [];

function short(number, digits = 4) {
  const text = number.toPrecision(digits);
  return text.includes("e") ? text : String(Number(text));
}

function draw() {
  const [alpha, decay, mu] = NAMES.map((name) => Number(find(name).value));
  const learningRate = 10 ** alpha;
  const b1 = 1 - 10 ** -decay;
  find("alpha-value").textContent = short(learningRate, 3);
  find("decay-value").textContent = short(b1, 6);
  find("observation-value").textContent = mu.toFixed(3);
  const updates = Math.round(setting.delta * b1 / (1 - b1));
  find("updates").textContent = `log-time momentum with δ = ${setting.delta} gets ` +
    `here after ${updates.toLocaleString("en")} updates`;
  const { low, high } = setting;
  shown = { learningRate, b1, mu, ...computeCurves({ learningRate, b1, mu, low, high }) };
  const shared = {
    x: shown.curvature,
    across: [10 ** low, 10 ** high],
    marks: [["bound", shown.bound], ["best", shown.best]],
    shade: setting.shade,
  };
  charts = [
    drawChart(find("gain"), { ...shared, y: shown.gain, up: shown.gainRange, one: true }),
    drawChart(find("noise"),
      { ...shared, y: shown.noise, up: shown.noiseRange, logarithmic: true }),
  ];
  find("readout").innerHTML =
    `Converges for curvatures from 0 to <b>${short(shown.bound)}</b>; fastest at ` +
    `<b>${short(shown.best)}</b>, where in the long run each step leaves ` +
    `<b>${shown.bestGain.toPrecision(5)}</b> of the error.`;
  find("probe").textContent = HINT;
}

function nearest(value) {
  let best = 0;
  shown.curvature.forEach((other, i) => {
    const distance = (one) => Math.abs(Math.log(one / value));
    if (distance(other) < distance(shown.curvature[best])) best = i;
  });
  return best;
}

function probe(event) {
  const index = nearest(charts[0].valueAt(event.clientX));
  charts.forEach((chart) => chart.point(index));
  const noise = shown.noise[index];
  find("probe").textContent =
    `At curvature λ = ${short(shown.curvature[index], 3)}, ` +
    `τ = αλ = ${short(shown.learningRate * shown.curvature[index], 3)}: ` +
    `gain ${short(shown.gain[index], 6)}, ` +
    `noise ${Number.isFinite(noise) ? short(noise, 3) : "infinite"}.`;
}

for (const name of NAMES) {
  const { min, max, value } = setting[name];
  Object.assign(find(name), { min, max });
  find(name).value = value;
  find(name).addEventListener("input", draw);
}
for (const id of ["gain", "noise"]) {
  find(id).addEventListener("pointermove", probe);
  find(id).addEventListener("pointerdown", probe);
}
// Also calls it when the page opens.
new ResizeObserver(draw).observe(find("gain"));
