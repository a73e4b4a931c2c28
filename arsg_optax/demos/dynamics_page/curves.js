// What the page shows of one setting. Runs after formulas.js; draws nothing.

const POINTS = 700;

// Curves over curvatures from 10 ** low to 10 ** high, and where they are marked.
function computeCurves({ learningRate, b1, mu, low, high }) {
  const region = complexRegion(b1, mu);
  const first = 10 ** low;
  const last = 10 ** high;
  const even = Array.from(
    { length: POINTS }, (_, i) => 10 ** (low + (high - low) * i / (POINTS - 1)));
  // The gain has kinks at both ends of the complex region, which the grid would miss.
  const kinks = [region.lower, region.upper]
    .map((tau) => Math.min(last, Math.max(first, tau / learningRate)));
  const curvature = [...even, ...kinks].sort((one, other) => one - other);
  const gain = curvature.map((value) => gainFactor(learningRate * value, b1, mu));
  const noise = curvature.map((value) => varianceLimit(learningRate * value, b1, mu));
  const best = fastestTau(b1, mu);
  const margin = Math.max(1 - Math.min(...gain), 1e-6);
  return {
    curvature, gain, noise,
    bound: convergenceBound(b1, mu) / learningRate,
    best: best / learningRate,
    bestGain: gainFactor(best, b1, mu),
    gainRange: [Math.max(0, 1 - 1.08 * margin), 1 + 0.3 * margin],
    noiseRange: [Math.min(...noise) / 2, 100],
  };
}
