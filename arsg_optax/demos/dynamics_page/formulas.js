// RSG along one eigenvector: the functions of arsg_optax.dynamics that the page needs,
// in the same forms. tau = learning rate * curvature, mu = observation factor.

function kick(b1, mu) {
  return (1 - b1) + b1 * mu;
}

function convergenceBound(b1, mu) {
  return 2 * (1 + b1) / ((1 - b1) + 2 * b1 * mu);
}

function complexRegion(b1, mu) {
  const above = 1 + Math.sqrt(b1 * (1 - mu));
  const below = kick(b1, mu) / above;
  return { lower: (1 - b1) / above ** 2, upper: (1 - b1) / below ** 2 };
}

function fastestTau(b1, mu) {
  return complexRegion(b1, mu).upper;
}

function gainFactor(tau, b1, mu) {
  const trace = 1 + b1 - tau * kick(b1, mu);
  // As a product of its roots the discriminant keeps its digits beside them.
  const above = 1 + Math.sqrt(b1 * (1 - mu));
  const below = kick(b1, mu) / above;
  const discriminant =
    (above ** 2 * tau - (1 - b1)) * (below ** 2 * tau - (1 - b1));
  if (discriminant < 0) {
    return Math.sqrt(Math.max(0, b1 * (1 - mu * tau)));
  }
  return (Math.abs(trace) + Math.sqrt(discriminant)) / 2;
}

function varianceLimit(tau, b1, mu) {
  const p = b1 * mu;
  const q = 1 - b1;
  const room = 2 * (1 + b1) - (2 * p + q) * tau;
  if (tau < 0 || room <= 0) {
    return Infinity;
  }
  const excess = q * (1 + b1) + p * (2 * p + q) * tau;
  return tau * excess / ((q + p * tau) * room);
}
