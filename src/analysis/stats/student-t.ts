/**
 * The value that Student's t stays below with this probability. The distribution function is the finite sum for
 * whole degrees of freedom (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4).
 * @param probability over 0.5 and below 1
 * @param freedom degrees of freedom, 1 or more
 */
export function studentT(probability: number, freedom: number): number {
  let low = 0;
  let high = 1;
  while (below(high, freedom) < probability) high *= 2;
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (below(middle, freedom) < probability) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

function below(t: number, freedom: number): number {
  return (1 + within(t, freedom)) / 2;
}

/** Chance to lie between −t and t. */
function within(t: number, freedom: number): number {
  const angle = Math.atan(t / Math.sqrt(freedom));
  const cosine = Math.cos(angle);
  const isOdd = freedom % 2 === 1;
  if (freedom === 1) return (2 / Math.PI) * angle;
  let term = isOdd ? cosine : 1;
  let sum = term;
  for (let at = isOdd ? 3 : 2; at < freedom - 1; at += 2) {
    term *= ((at - 1) / at) * cosine * cosine;
    sum += term;
  }
  const scaled = Math.sin(angle) * sum;
  return isOdd ? (2 / Math.PI) * (angle + scaled) : scaled;
}
