import type { CapacityDocument } from '../../documents/capacity.ts';

type CurvePoint = CapacityDocument['curve'][number];

/**
 * The knee of a throughput–latency curve: the load with the greatest power, which is throughput divided by latency (L.
 * Kleinrock, Power and deterministic rules of thumb, ICC 1979). By Little's law, from there on requests in flight grow
 * faster than the square of the throughput.
 * @param curve ascending
 * @returns null for fewer than three loads, or if the greatest load has the greatest power: then the knee is beyond it
 */
export function kneeOf(curve: readonly CurvePoint[]): CurvePoint | null {
  const powerOf = ({ completedPerSecond, latencyMeanMs }: CurvePoint) =>
    latencyMeanMs === null || latencyMeanMs === 0 ? 0 : completedPerSecond / latencyMeanMs;
  const known = curve.filter((point) => powerOf(point) > 0);
  const [best] = known.toSorted((a, b) => powerOf(b) - powerOf(a));
  return known.length < 3 || best === undefined || best === known.at(-1) ? null : best;
}
