// Runs after formulas.js, when the page opens and when a slider moves. The page's
// models are arguments: sliders alpha (log10), decay (-log10(1 - b1)) and observation;
// sources curves, bound and fastest; the even grid; ranges gains and noises; readout.

const learningRate = 10 ** alpha.value;
const b1 = 1 - 10 ** -decay.value;
const mu = observation.value;

function short(number) {
  const text = number.toPrecision(4);
  return text.includes("e") ? text : String(Number(text));
}

// The reset button returns to these limits, not to those of the first setting.
function setRange(range, start, end) {
  range.setv({ start, end, reset_start: start, reset_end: end });
}

const region = complexRegion(b1, mu);
const largest = convergenceBound(b1, mu) / learningRate;
const best = fastestTau(b1, mu) / learningRate;

// The gain has kinks at both ends of the complex region, which the grid would miss.
const first = grid[0];
const last = grid[grid.length - 1];
const kinks = [region.lower, region.upper]
  .map((tau) => Math.min(last, Math.max(first, tau / learningRate)));
const curvature = Float64Array.from([...grid, ...kinks]).sort();
const tau = curvature.map((value) => learningRate * value);
const gain = tau.map((value) => gainFactor(value, b1, mu));
const noise = tau.map((value) => varianceLimit(value, b1, mu));

// A curve ends where it is infinite.
curves.data = {
  curvature,
  tau,
  gain,
  noise: noise.map((value) => (Number.isFinite(value) ? value : NaN)),
};
bound.data = { x: [largest, largest], gain: [0, 1e9], noise: [1e-300, 1e300] };
fastest.data = { x: [best, best], gain: [0, 1e9], noise: [1e-300, 1e300] };

const depth = 1 - Math.min(...gain);
const margin = Math.max(depth, 1e-6);
setRange(gains, Math.max(0, 1 - 1.08 * margin), 1 + 0.3 * margin);
setRange(noises, Math.min(...noise) / 2, 100);

const bestGain = gainFactor(learningRate * best, b1, mu);
readout.text =
  `Converges for curvatures from 0 to <b>${short(largest)}</b>; fastest at ` +
  `<b>${short(best)}</b>, where in the long run each step leaves ` +
  `<b>${bestGain.toPrecision(5)}</b> of the error.`;
